package history

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var begin = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sound is a history in which all went well, and the final state that fits.
func sound() ([]Record, Final) {
	var records []Record
	second := 0
	add := func(kind Kind, name, value string, end Record) {
		second++
		id := second
		records = append(records, Record{Process: "p", ID: id, Phase: Invoke, Time: begin.Add(time.Duration(second) * time.Second), Kind: kind, Token: "t", Name: name, Value: value})
		end.Process, end.ID, end.Time = "p", id, begin.Add(time.Duration(second)*time.Second+100*time.Millisecond)
		if end.Phase == "" {
			end.Phase = OK
		}
		records = append(records, end)
	}
	add(Generate, "key", "", Record{UID: "u1", Value: "04aa"})
	add(Sign, "key", "", Record{})
	add(Sign, "key", "", Record{})
	add(Create, "data", "v0", Record{UID: "u2"})
	add(Modify, "data", "v1", Record{})
	add(Read, "data", "", Record{Count: 1, Value: "v1"})
	add(Create, "gone", "v0", Record{UID: "u3"})
	add(Destroy, "gone", "", Record{})
	add(Read, "gone", "", Record{})
	add(Handshake, "", "", Record{})
	objects := []Seen{
		{"t", "key", Private, "u1", ""}, {"t", "key", Public, "u1p", "04aa"}, {"t", "data", Data, "u2", "v1"},
	}
	return records, Final{
		Views: []View{
			{Name: "module", Objects: slices.Clone(objects)},
			{Name: "admin", KeysOnly: true, Objects: slices.Clone(objects[:1])},
		},
		Events: []Event{
			{"key.generate", "u1", "OK"},
			{"sign", "u1", "OK"},
			{"sign", "u1", "OK"},
			{"object.create", "u2", "OK"},
			{"object.set", "u2", "OK"},
			{"object.create", "u3", "OK"},
			{"object.destroy", "u3", "OK"},
			{"login", "", "OK"},
		},
		ProviderKeys: map[string][]ProviderKey{"t": {{"r1", true}}},
	}
}

var rules = Rules{Longest: 5 * time.Second, NoEffect: []string{"CKR_DEVICE_MEMORY"}, Strict: true}

func TestSound(t *testing.T) {
	records, final := sound()
	if wrong := Check(records, final, rules); len(wrong) != 0 {
		t.Errorf("%q", wrong)
	}
}

// TestBroken: the judge sees each thing that can be wrong.
func TestBroken(t *testing.T) {
	end := func(records []Record, id int) *Record {
		for i := range records {
			if records[i].ID == id && records[i].Phase != Invoke {
				return &records[i]
			}
		}
		panic("no such operation")
	}
	drop := func(f *Final, e Event) {
		f.Events = slices.Delete(f.Events, slices.Index(f.Events, e), slices.Index(f.Events, e)+1)
	}
	for _, test := range []struct {
		name  string
		spoil func(records *[]Record, f *Final)
		want  string
	}{
		{"a lost key", func(_ *[]Record, f *Final) { f.Views[0].Objects = f.Views[0].Objects[1:] }, "module: LOST t/key (private)"},
		{"a lost half", func(_ *[]Record, f *Final) { f.Views[0].Objects = slices.Delete(f.Views[0].Objects, 1, 2) }, "LOST t/key (public)"},
		{"lost for the administrator only", func(_ *[]Record, f *Final) { f.Views[1].Objects = nil }, "admin: LOST t/key"},
		{"a doubled object", func(_ *[]Record, f *Final) {
			f.Views[0].Objects = append(f.Views[0].Objects, Seen{"t", "data", Data, "u9", "v1"})
		}, "DOUBLED t/data"},
		{"a uid twice", func(_ *[]Record, f *Final) {
			f.Views[0].Objects = append(f.Views[0].Objects, Seen{"t", "data", Data, "u2", "v1"})
		}, "uid u2 is there twice"},
		{"an old value", func(_ *[]Record, f *Final) { f.Views[0].Objects[2].Value = "v0" }, `has the value "v0"`},
		{"another key", func(_ *[]Record, f *Final) { f.Views[0].Objects[1].Value = "04bb" }, `has the value "04bb"`},
		{"another object", func(_ *[]Record, f *Final) { f.Views[0].Objects[2].UID = "u8" }, "another object"},
		{"back from the dead", func(_ *[]Record, f *Final) {
			f.Views[0].Objects = append(f.Views[0].Objects, Seen{"t", "gone", Data, "u3", "v0"})
		}, "its destruction was acknowledged"},
		{"out of nowhere", func(_ *[]Record, f *Final) {
			f.Views[0].Objects = append(f.Views[0].Objects, Seen{"t", "what", Data, "u7", ""})
		}, "nobody has asked for it"},
		{"a key left behind", func(_ *[]Record, f *Final) {
			f.ProviderKeys["t"] = append(f.ProviderKeys["t"], ProviderKey{"r2", false})
		}, "belongs to no object"},
		{"a key too many", func(_ *[]Record, f *Final) {
			f.ProviderKeys["t"] = append(f.ProviderKeys["t"], ProviderKey{"r2", true})
		}, "holds 2 keys"},
		{"a key too few", func(_ *[]Record, f *Final) { f.ProviderKeys["t"] = nil }, "holds 0 keys"},
		{"a generation without event", func(_ *[]Record, f *Final) { drop(f, Event{"key.generate", "u1", "OK"}) }, "has 0 events key.generate"},
		{"a signature without event", func(_ *[]Record, f *Final) { drop(f, Event{"sign", "u1", "OK"}) }, "1 events sign, 2 were acknowledged"},
		{"a change done twice", func(_ *[]Record, f *Final) { f.Events = append(f.Events, Event{"object.set", "u2", "OK"}) }, "done twice"},
		{"a generation done twice", func(_ *[]Record, f *Final) { f.Events = append(f.Events, Event{"key.generate", "u1", "OK"}) }, "done twice"},
		{"a destruction without event", func(_ *[]Record, f *Final) { drop(f, Event{"object.destroy", "u3", "OK"}) }, "object.destroy"},
		{"a failed signature", func(r *[]Record, _ *Final) { *end(*r, 2) = fail(*end(*r, 2), "CKR_DEVICE_ERROR") }, "CKR_DEVICE_ERROR"},
		{"a failed handshake", func(r *[]Record, _ *Final) { *end(*r, 10) = fail(*end(*r, 10), "broken pipe") }, "handshake"},
		{"a slow call", func(r *[]Record, _ *Final) { end(*r, 2).Time = begin.Add(time.Minute) }, "took"},
		{"a stale read", func(r *[]Record, _ *Final) { end(*r, 6).Value = "v0" }, `read "v0" from data`},
		{"a double read", func(r *[]Record, _ *Final) { end(*r, 6).Count = 2 }, "read data 2 times"},
		{"a read that finds nothing", func(r *[]Record, _ *Final) { end(*r, 6).Count = 0 }, "read data 0 times"},
		{"a read of what is gone", func(r *[]Record, _ *Final) { end(*r, 9).Count = 1 }, "read gone 1 times"},
		{"an operation without end", func(r *[]Record, _ *Final) { *r = slices.Delete(*r, 3, 4) }, "unknown"},
		{"an end without beginning", func(r *[]Record, _ *Final) { *r = slices.Delete(*r, 2, 3) }, "had not begun"},
		{"a name used twice", func(r *[]Record, _ *Final) {
			*r = append(*r, Record{Process: "p", ID: 99, Phase: Invoke, Time: begin.Add(time.Hour), Kind: Create, Token: "t", Name: "data"},
				Record{Process: "p", ID: 99, Phase: OK, Time: begin.Add(time.Hour)})
		}, "used twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			records, final := sound()
			test.spoil(&records, &final)
			wrong := Check(records, final, rules)
			if !strings.Contains(strings.Join(wrong, "\n"), test.want) {
				t.Errorf("want %q, got %q", test.want, wrong)
			}
		})
	}
}

func fail(r Record, err string) Record {
	r.Phase, r.Error = Fail, err
	return r
}

// TestDoubt: what was not acknowledged may or may not have happened, but at most once.
func TestDoubt(t *testing.T) {
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	records := []Record{
		{Process: "p", ID: 1, Phase: Invoke, Time: at(1), Kind: Create, Token: "t", Name: "maybe", Value: "v"},
		{Process: "p", ID: 1, Phase: Unknown, Time: at(2), Error: "CKR_DEVICE_ERROR"},
		{Process: "p", ID: 2, Phase: Invoke, Time: at(3), Kind: Create, Token: "t", Name: "refused", Value: "v"},
		{Process: "p", ID: 2, Phase: Fail, Time: at(4), Error: "CKR_DEVICE_MEMORY"},
	}
	excused := rules
	excused.Windows = []Window{{From: at(0), To: at(5), Errors: []string{"CKR_DEVICE_ERROR", "CKR_DEVICE_MEMORY"}}}
	view := func(names ...string) Final {
		var objects []Seen
		for i, name := range names {
			objects = append(objects, Seen{"t", name, Data, string(rune('a' + i)), "v"})
		}
		events := []Event{}
		if len(names) > 0 {
			events = append(events, Event{"object.create", "a", "OK"})
		}
		return Final{Views: []View{{Name: "module", Objects: objects}}, Events: events}
	}
	for _, good := range []Final{view(), view("maybe")} {
		if wrong := Check(records, good, excused); len(wrong) != 0 {
			t.Errorf("%q", wrong)
		}
	}
	for _, bad := range []Final{view("maybe", "maybe"), view("refused"), view("maybe", "refused")} {
		if wrong := Check(records, bad, excused); len(wrong) == 0 {
			t.Errorf("nothing is wrong with %v", bad)
		}
	}
	if wrong := Check(records, view(), rules); len(wrong) != 2 {
		t.Errorf("without a window: %q", wrong)
	}
	excused.Windows[0].Spared = []Kind{Create}
	if wrong := Check(records, view(), excused); len(wrong) != 2 {
		t.Errorf("a kind that the window does not excuse: %q", wrong)
	}
	excused.Windows[0].Spared = nil
	excused.Windows[0].Errors = []string{"CKR_DEVICE_MEMORY"}
	if wrong := Check(records, view(), excused); len(wrong) != 1 {
		t.Errorf("an error that the window does not excuse: %q", wrong)
	}
}

// TestLog: what is written is read again, and a line that a kill cut off is left out.
func TestLog(t *testing.T) {
	dir := t.TempDir()
	log, err := Open(dir, "p")
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []Phase{OK, Fail} {
		o, err := log.Begin(Record{Kind: Create, Name: "n", Token: "t", Value: "v"})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.End(Record{Phase: end, UID: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "p.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	records, err := Load(dir)
	if err != nil || len(records) != 3 || records[0].Name != "n" || records[1].Phase != OK || records[2].ID != 2 {
		t.Errorf("%v, %v", records, err)
	}
	if err := os.WriteFile(path, append([]byte("{broken\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a line in the middle is broken and nobody says so")
	}
}
