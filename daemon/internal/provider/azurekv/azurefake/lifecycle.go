package azurefake

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// attributes are a key's as they travel: dates in seconds.
type attributes struct {
	Enabled *bool  `json:"enabled,omitempty"`
	From    *int64 `json:"nbf,omitempty"`
	Until   *int64 `json:"exp,omitempty"`
	Created int64  `json:"created,omitempty"`
	Updated int64  `json:"updated,omitempty"`
	Level   string `json:"recoveryLevel,omitempty"`
	Days    int    `json:"recoverableDays,omitempty"`
}

// settings are the fields that create, import and update share.
type settings struct {
	Attributes *attributes       `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
}

func (s settings) apply(k *Key) *refusal {
	if len(s.Tags) > 15 {
		return bad("A key has at most 15 tags")
	}
	for name, value := range s.Tags {
		if len(name) > 256 || len(value) > 256 {
			return bad("The name and the value of a tag have at most 256 characters")
		}
	}
	if s.Tags != nil {
		k.Tags = s.Tags
	}
	if a := s.Attributes; a != nil {
		if a.Enabled != nil {
			k.Enabled = *a.Enabled
		}
		if a.From != nil {
			k.NotBefore = time.Unix(*a.From, 0)
		}
		if a.Until != nil {
			k.Expires = time.Unix(*a.Until, 0)
		}
	}
	return nil
}

// make makes a key, or another version of the key that there is.
func (v *Vault) make(r *http.Request, c call) (any, *refusal) {
	k := &Key{Version: random(16), Enabled: true, Created: v.options.Now().Truncate(time.Second)}
	var wrong *refusal
	if c.operation == "create" {
		var in struct {
			settings
			Kty  string   `json:"kty"`
			Crv  string   `json:"crv"`
			Size int      `json:"key_size"`
			Ops  []string `json:"key_ops"`
		}
		if wrong = body(r, &in); wrong == nil {
			k.Kty = in.Kty
			if k.Operations, wrong = v.types(in.Kty, in.Ops); wrong == nil {
				if wrong = in.apply(k); wrong == nil {
					wrong = generate(k, in.Crv, in.Size)
				}
			}
		}
	} else {
		var in struct {
			settings
			Key webKey `json:"key"`
			HSM bool   `json:"Hsm"`
		}
		if wrong = body(r, &in); wrong == nil {
			k.Kty = in.Key.Kty
			if in.HSM && !strings.HasSuffix(k.Kty, "-HSM") {
				wrong = bad("Hsm and kty contradict each other")
			} else if k.Operations, wrong = v.types(in.Key.Kty, in.Key.Ops); wrong == nil {
				if wrong = in.apply(k); wrong == nil {
					wrong = take(k, in.Key)
				}
			}
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return v.put(r, c.name, k)
}

func (v *Vault) put(r *http.Request, name string, k *Key) (any, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lower := strings.ToLower(name)
	if dead := v.deleted[lower]; dead != nil {
		inner := "ObjectIsDeletedButRecoverable"
		if dead.polls > 0 {
			inner = "ObjectIsBeingDeleted"
		}
		return nil, &refusal{http.StatusConflict, "Conflict", inner, "Key " + name + " is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged."}
	}
	e := v.keys[lower]
	if e == nil {
		e = &entry{name: name}
		v.keys[lower] = e
	}
	e.versions = append(e.versions, k)
	return v.bundle(r, e, k), nil
}

// find returns a version of a key; the newest if none is named. The caller holds the lock.
func (v *Vault) find(c call) (*entry, *Key, *refusal) {
	e := v.keys[strings.ToLower(c.name)]
	if e != nil && c.version == "" {
		return e, e.current(), nil
	}
	if e != nil {
		for _, k := range e.versions {
			if k.Version == c.version {
				return e, k, nil
			}
		}
	}
	return nil, nil, notFound(c.name)
}

func notFound(name string) *refusal {
	return &refusal{http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) " + name + " was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command."}
}

func (v *Vault) id(r *http.Request, e *entry, version string) string {
	id := "https://" + r.Host + "/keys/" + e.name
	if version != "" {
		id += "/" + version
	}
	return id
}

func (v *Vault) level() string {
	if v.options.PurgeProtection {
		return "Recoverable"
	}
	return "Recoverable+Purgeable"
}

func (v *Vault) shown(k *Key) attributes {
	a := attributes{Enabled: &k.Enabled, Created: k.Created.Unix(), Updated: k.Created.Unix(), Level: v.level(), Days: 90}
	for date, to := range map[time.Time]**int64{k.NotBefore: &a.From, k.Expires: &a.Until} {
		if !date.IsZero() {
			seconds := date.Unix()
			*to = &seconds
		}
	}
	return a
}

func (v *Vault) bundle(r *http.Request, e *entry, k *Key) map[string]any {
	b := map[string]any{"key": k.public(v.id(r, e, k.Version)), "attributes": v.shown(k)}
	if len(k.Tags) > 0 {
		b["tags"] = maps.Clone(k.Tags)
	}
	return b
}

func (v *Vault) get(r *http.Request, c call) (any, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, k, wrong := v.find(c)
	if wrong != nil {
		return nil, wrong
	}
	if !k.Enabled {
		return nil, forbidden("KeyDisabled", "Operation get is not allowed on a disabled key.")
	}
	return v.bundle(r, e, k), nil
}

func (v *Vault) update(r *http.Request, c call) (any, *refusal) {
	var in struct {
		settings
		Ops []string `json:"key_ops"`
	}
	if wrong := body(r, &in); wrong != nil {
		return nil, wrong
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, k, wrong := v.find(c)
	if wrong != nil {
		return nil, wrong
	}
	if in.Ops != nil {
		if _, wrong := v.types(k.Kty, in.Ops); wrong != nil {
			return nil, wrong
		}
		k.Operations = in.Ops
	}
	if wrong := in.apply(k); wrong != nil {
		return nil, wrong
	}
	return v.bundle(r, e, k), nil
}

// delete deletes a key with all its versions. It can be recovered for a while.
func (v *Vault) delete(r *http.Request, c call) (any, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, k, wrong := v.find(call{name: c.name})
	if wrong != nil {
		return nil, wrong
	}
	lower := strings.ToLower(c.name)
	delete(v.keys, lower)
	e.polls, e.since = v.options.DeletionPolls, v.options.Now()
	v.deleted[lower] = e
	return v.remains(r, e, k), nil
}

func (v *Vault) remains(r *http.Request, e *entry, k *Key) map[string]any {
	b := v.bundle(r, e, k)
	b["recoveryId"] = "https://" + r.Host + "/deletedkeys/" + e.name
	b["deletedDate"], b["scheduledPurgeDate"] = e.since.Unix(), e.since.AddDate(0, 0, 90).Unix()
	return b
}

// afterlife shows, purges or recovers a deleted key.
func (v *Vault) afterlife(r *http.Request, c call) (any, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lower := strings.ToLower(c.name)
	e := v.deleted[lower]
	if e == nil {
		return nil, notFound(c.name)
	}
	if e.polls > 0 {
		e.polls--
		if c.operation == "getdeleted" {
			return nil, notFound(c.name)
		}
		return nil, &refusal{http.StatusConflict, "Conflict", "ObjectIsBeingDeleted", "Key " + e.name + " is currently being deleted."}
	}
	switch c.operation {
	case "purge":
		if v.options.PurgeProtection {
			return nil, forbidden("PurgeProtectionEnabled", "Operation \"purge\" is not allowed because purge protection is enabled for this vault.")
		}
		delete(v.deleted, lower)
		return nil, nil
	case "recover":
		delete(v.deleted, lower)
		v.keys[lower] = e
		return v.bundle(r, e, e.current()), nil
	}
	return v.remains(r, e, e.current()), nil
}

// list lists keys without their versions, or the versions of a key. It has no public keys.
func (v *Vault) list(r *http.Request, c call) (any, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	type item struct {
		id string
		k  *Key
	}
	var all []item
	if c.operation == "versions" {
		if e := v.keys[strings.ToLower(c.name)]; e != nil {
			for _, k := range e.versions {
				all = append(all, item{v.id(r, e, k.Version), k})
			}
		}
		slices.SortFunc(all, func(a, b item) int { return cmp.Compare(a.k.Version, b.k.Version) })
	} else {
		for _, e := range v.keys {
			all = append(all, item{v.id(r, e, ""), e.current()})
		}
		slices.SortFunc(all, func(a, b item) int { return cmp.Compare(a.id, b.id) })
	}
	first, last, next, wrong := v.page(r, len(all))
	if wrong != nil {
		return nil, wrong
	}
	value := []map[string]any{}
	for _, i := range all[first:last] {
		row := map[string]any{"kid": i.id, "attributes": v.shown(i.k)}
		if len(i.k.Tags) > 0 {
			row["tags"] = maps.Clone(i.k.Tags)
		}
		value = append(value, row)
	}
	return map[string]any{"value": value, "nextLink": next}, nil
}
