package history

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// Rules are what a run promises beyond that nothing is lost and nothing doubled.
type Rules struct {
	// Windows excuse failures.
	Windows []Window
	// Longest is how long an operation may take.
	Longest time.Duration
	// NoEffect are the errors that promise that nothing was changed.
	NoEffect []string
	// Strict: each use of a key must be in the audit log.
	Strict bool
}

type operation struct {
	Record
	end      Phase
	ended    Record
	from, to time.Time
	err      string
}

// thing is what the history says of an object: what must, may and must not be.
type thing struct {
	token, name  string
	kind         Kind
	uid          string
	born, doomed Phase // "" never asked, Unknown, OK
	// values are those that the object may have now; the last one is what it should have.
	values []string
	// signed, modified and destroyed count acknowledged operations, maybe those of unknown outcome.
	signed, modified, destroyed   int
	maybeModified, maybeDestroyed int
}

// Check returns what is wrong: an empty list, or sentences.
func Check(records []Record, final Final, rules Rules) []string {
	c := &checker{rules: rules, things: map[string]*thing{}}
	operations := c.pair(records)
	for _, o := range operations {
		c.available(o)
		c.apply(o)
	}
	for _, view := range final.Views {
		c.view(view)
	}
	c.audit(final)
	for token, keys := range final.ProviderKeys {
		c.provider(token, keys)
	}
	return c.wrong
}

type checker struct {
	rules  Rules
	things map[string]*thing
	wrong  []string
}

func (c *checker) complain(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// pair joins beginnings and ends, in the order of the beginnings. Only one process works on an object, and one
// operation at a time, so this is the order of the effects.
func (c *checker) pair(records []Record) []*operation {
	open := map[string]*operation{}
	var all []*operation
	var last time.Time
	for _, r := range records {
		if r.Time.After(last) {
			last = r.Time
		}
	}
	for _, r := range records {
		key := fmt.Sprint(r.Process, "/", r.ID)
		if r.Phase == Invoke {
			if open[key] != nil {
				c.complain("%s began twice", key)
			}
			o := &operation{Record: r, end: Unknown, from: r.Time, to: last}
			open[key] = o
			all = append(all, o)
			continue
		}
		o := open[key]
		if o == nil || o.ended.Phase != "" {
			c.complain("%s ended and had not begun", key)
			continue
		}
		o.ended, o.end, o.to, o.err = r, r.Phase, r.Time, r.Error
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].from.Before(all[j].from) })
	return all
}

// available: nothing fails or takes too long outside of the windows.
func (c *checker) available(o *operation) {
	if took := o.to.Sub(o.from); c.rules.Longest > 0 && took > c.rules.Longest {
		c.complain("%s/%d: %s %s took %v", o.Process, o.ID, o.Kind, o.Name, took.Round(time.Millisecond))
	}
	if o.end == OK {
		return
	}
	for _, w := range c.rules.Windows {
		if w.excuses(o) {
			return
		}
	}
	c.complain("%s/%d: %s %s at %s: %s %s", o.Process, o.ID, o.Kind, o.Name, o.from.Format("15:04:05.000"), o.end, o.err)
}

// apply follows what an operation did to its object.
func (c *checker) apply(o *operation) {
	if o.Kind == Handshake {
		return
	}
	t := c.things[o.Token+"/"+o.Name]
	if t == nil {
		if o.Kind != Generate && o.Kind != Create {
			c.complain("%s/%d: %s of %s, which nobody has made", o.Process, o.ID, o.Kind, o.Name)
			return
		}
		t = &thing{token: o.Token, name: o.Name, kind: o.Kind}
		c.things[o.Token+"/"+o.Name] = t
	} else if o.Kind == Generate || o.Kind == Create {
		c.complain("%s/%d: the name %s is used twice", o.Process, o.ID, o.Name)
	}
	effect := o.end
	if effect == Fail {
		effect = Unknown
	}
	if slices.Contains(c.rules.NoEffect, o.err) {
		effect = ""
	}
	switch o.Kind {
	case Generate, Create:
		t.born, t.uid = effect, o.ended.UID
		t.values = []string{o.Value + o.ended.Value}
	case Modify:
		switch effect {
		case OK:
			t.modified++
			t.values = []string{o.Value}
		case Unknown:
			t.maybeModified++
			t.values = append(t.values, o.Value)
		}
	case Destroy:
		switch effect {
		case OK:
			t.destroyed++
			t.doomed = OK
		case Unknown:
			t.maybeDestroyed++
			if t.doomed == "" {
				t.doomed = Unknown
			}
		}
	case Read:
		c.read(o, t)
	case Sign:
		if o.end == OK {
			t.signed++
		}
	case Verify:
	}
}

// read: the only writer of an object reads what it wrote.
func (c *checker) read(o *operation, t *thing) {
	if o.end != OK {
		return
	}
	least, most := t.expected()
	if n := o.ended.Count; n < least || n > most {
		c.complain("%s/%d: read %s %d times, want %d to %d", o.Process, o.ID, o.Name, n, least, most)
	}
	if o.ended.Count > 0 && !t.may(o.ended.Value) {
		c.complain("%s/%d: read %.40q from %s, want one of %.40q", o.Process, o.ID, o.ended.Value, o.Name, t.values)
	}
	if o.ended.Count > 0 && len(t.values) > 1 {
		// What was in doubt is seen now.
		t.values = []string{o.ended.Value}
	}
}

// expected returns how many there must be at least and may be at most.
func (t *thing) expected() (least, most int) {
	switch {
	case t.born == "", t.doomed == OK:
		return 0, 0
	case t.born == Unknown, t.doomed == Unknown:
		return 0, 1
	}
	return 1, 1
}

func (t *thing) may(value string) bool {
	// Programs that do not tell a key's value leave it empty.
	return value == "" || t.kind == Generate && (t.born != OK || t.values[0] == "") || slices.Contains(t.values, value)
}

func (t *thing) classes() []Class {
	if t.kind == Generate {
		return []Class{Private, Public}
	}
	return []Class{Data}
}

// view: every object is there as often as it must be, with the value that it must have, and nothing else is.
func (c *checker) view(v View) {
	type place struct {
		object string
		class  Class
	}
	seen := map[place][]Seen{}
	uids := map[string]bool{}
	for _, s := range v.Objects {
		p := place{s.Token + "/" + s.Name, s.Class}
		seen[p] = append(seen[p], s)
		if s.UID != "" && uids[s.UID] {
			c.complain("%s: the uid %s is there twice", v.Name, s.UID)
		}
		uids[s.UID] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.things)) {
		t := c.things[name]
		if v.KeysOnly && t.kind != Generate {
			continue
		}
		least, most := t.expected()
		for _, class := range t.classes() {
			if v.KeysOnly && class != Private {
				continue
			}
			found := seen[place{name, class}]
			delete(seen, place{name, class})
			// A key pair is destroyed by two calls: its halves may be there apart only while that is in doubt.
			if n := len(found); n < least {
				c.complain("%s: LOST %s (%s): acknowledged and not there", v.Name, name, class)
			} else if n > most && n > 1 {
				c.complain("%s: DOUBLED %s (%s): there %d times", v.Name, name, class, n)
			} else if n > most {
				c.complain("%s: %s (%s) is there though its destruction was acknowledged, or its making refused", v.Name, name, class)
			}
			for _, s := range found {
				if s.Value != "" && !t.may(s.Value) {
					c.complain("%s: %s (%s) has the value %.40q, want one of %.40q", v.Name, name, class, s.Value, t.values)
				}
				if class != Public && s.UID != "" {
					if t.uid != "" && t.uid != s.UID {
						c.complain("%s: %s (%s) is another object than the one that was acknowledged", v.Name, name, class)
					}
					t.uid = s.UID
				}
			}
		}
	}
	for p, left := range seen {
		if v.KeysOnly && p.class != Private {
			continue
		}
		c.complain("%s: %s (%s) is there %d times and nobody has asked for it", v.Name, p.object, p.class, len(left))
	}
}

// audit: every acknowledged change is in the log exactly once, and with a strict log every use of a key.
func (c *checker) audit(final Final) {
	counts := map[Event]int{}
	for _, e := range final.Events {
		counts[e]++
	}
	for _, name := range slices.Sorted(maps.Keys(c.things)) {
		t := c.things[name]
		if t.uid == "" {
			if t.born == OK {
				c.complain("audit: nobody knows the uid of %s, so its events cannot be counted", name)
			}
			continue
		}
		made := "key.generate"
		if t.kind == Create {
			made = "object.create"
		}
		born := 0
		if t.born == OK {
			born = 1
		}
		c.events(counts, name, Event{made, t.uid, "OK"}, born, 1)
		c.events(counts, name, Event{"object.set", t.uid, "OK"}, t.modified, t.modified+t.maybeModified)
		c.events(counts, name, Event{"object.destroy", t.uid, "OK"}, t.destroyed, t.destroyed+t.maybeDestroyed)
		if c.rules.Strict {
			// A signature may have been made twice: the first answer was lost.
			c.events(counts, name, Event{"sign", t.uid, "OK"}, t.signed, 1<<30)
		}
	}
}

func (c *checker) events(counts map[Event]int, name string, e Event, least, most int) {
	switch n := counts[e]; {
	case n < least:
		c.complain("audit: %s has %d events %s, %d were acknowledged", name, n, e.Operation, least)
	case n > most:
		c.complain("audit: %s has %d events %s, want at most %d: done twice", name, n, e.Operation, most)
	}
}

// provider: each key that it holds belongs to an object, and to one.
func (c *checker) provider(token string, keys []ProviderKey) {
	seen := map[string]bool{}
	least, most := 0, 0
	for _, t := range c.things {
		if t.token == token && t.kind == Generate {
			l, m := t.expected()
			least, most = least+l, most+m
		}
	}
	for _, k := range keys {
		if seen[k.Reference] {
			c.complain("provider of %s: lists %s twice", token, k.Reference)
		}
		seen[k.Reference] = true
		if !k.Owned {
			c.complain("provider of %s: DOUBLED or left behind: key %s belongs to no object", token, k.Reference)
		}
	}
	if len(keys) < least || len(keys) > most {
		c.complain("provider of %s: holds %d keys, want %d to %d", token, len(keys), least, most)
	}
}
