// Package policy decides who may do what. A decision reads a snapshot in memory and does no I/O; the snapshot is
// refreshed after each change of applications, grants or tokens.
package policy

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Operation is something that a grant allows on one token.
type Operation string

// The operations.
const (
	// Use: see the token and its objects, log in, use keys.
	Use Operation = "use"
	// Create: generate, import, copy and derive token objects.
	Create Operation = "create"
	// Modify: change attributes of token objects, change the user's own PIN.
	Modify Operation = "modify"
	// Destroy: destroy token objects.
	Destroy Operation = "destroy"
	// SO: act as the security officer: log in as SO, initialise the token and the user's PIN.
	SO Operation = "so"
)

// Operations lists all operations in the order in which they are shown.
func Operations() []Operation { return []Operation{Use, Create, Modify, Destroy, SO} }

// Application is an application as policy sees it.
type Application struct {
	Name       string
	Identities []string
	// Grants holds the operations by the token's uid.
	Grants map[string][]Operation
	// CreateTokens tells that it may make tokens on the free slot.
	CreateTokens bool
}

// Facts is all that decisions rest on.
type Facts struct {
	Applications []Application
	// Labels holds the tokens' labels by uid, so that a refusal can name the token as people know it.
	Labels map[string]string
}

// Loader reads the facts from the store.
type Loader func(ctx context.Context) (Facts, error)

// Policy decides from the newest snapshot. It is safe for concurrent use.
type Policy struct {
	load     Loader
	refresh  sync.Mutex
	snapshot atomic.Pointer[snapshot]
}

type snapshot struct {
	admins       map[string]bool
	applications map[string]Application
	identities   map[string]string
	labels       map[string]string
}

// New makes a policy with administrators and no applications yet: Refresh loads them.
func New(admins []string, load Loader) *Policy {
	p := &Policy{load: load}
	s := &snapshot{admins: map[string]bool{}}
	for _, identity := range admins {
		s.admins[identity] = true
	}
	p.snapshot.Store(s)
	return p
}

// refreshTime is how long a refresh may take.
const refreshTime = 10 * time.Second

// Refresh loads the facts anew. Whoever changes applications, grants or tokens calls it before answering, so that a
// revoked grant is gone when the answer says so. A caller who gives up does not stop it: the change is made, and must
// take effect.
func (p *Policy) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTime)
	defer cancel()
	// One at a time: of two loads that overlap, the older could otherwise be stored last.
	p.refresh.Lock()
	defer p.refresh.Unlock()
	facts, err := p.load(ctx)
	if err != nil {
		return err
	}
	s := &snapshot{
		admins:       p.snapshot.Load().admins,
		applications: make(map[string]Application, len(facts.Applications)),
		identities:   map[string]string{},
		labels:       facts.Labels,
	}
	for _, a := range facts.Applications {
		s.applications[a.Name] = a
		for _, identity := range a.Identities {
			s.identities[identity] = a.Name
		}
	}
	p.snapshot.Store(s)
	return nil
}

// Resolve implements authn.Directory.
func (p *Policy) Resolve(identity string) (application string, admin bool) {
	s := p.snapshot.Load()
	return s.identities[identity], s.admins[identity]
}

// Allow returns nil if the caller may do the operation on the token, given by its uid, else why not. An administrator
// who is no application as well may do everything.
func (p *Policy) Allow(caller authn.Caller, token string, operation Operation) error {
	s := p.snapshot.Load()
	if caller.Application == "" {
		if caller.Admin {
			return nil
		}
		return unknown(caller)
	}
	application, ok := s.applications[caller.Application]
	if !ok {
		return unknown(caller)
	}
	name := s.labels[token]
	if name == "" {
		name = token
	}
	operations, granted := application.Grants[token]
	switch {
	case !granted:
		return fault.New(fault.NotGranted, "application %s has no grant for token %s; run: anyhsm app grant %s %s",
			application.Name, name, application.Name, word(name))
	case !slices.Contains(operations, operation):
		return fault.New(fault.NotGranted, "application %s may not %s in token %s, only %s; run: anyhsm app grant %s %s --operations %s",
			application.Name, operation, name, join(operations, " and "), application.Name, word(name), join(append(slices.Clone(operations), operation), ","))
	}
	return nil
}

// Visible tells whether the caller sees the token at all: with any grant for it.
func (p *Policy) Visible(caller authn.Caller, token string) bool {
	if caller.Application == "" {
		return caller.Admin
	}
	_, granted := p.snapshot.Load().applications[caller.Application].Grants[token]
	return granted
}

// AllowCreateToken returns nil if the caller may make a token on the free slot, else why not.
func (p *Policy) AllowCreateToken(caller authn.Caller) error {
	if caller.Application == "" {
		if caller.Admin {
			return nil
		}
		return unknown(caller)
	}
	if !p.snapshot.Load().applications[caller.Application].CreateTokens {
		return fault.New(fault.NotGranted, "application %s may not make tokens; run: anyhsm app add %s --create-tokens, or make the token with anyhsm token create",
			caller.Application, caller.Application)
	}
	return nil
}

// Granted returns the operations that an application has on a token, nil if none.
func (p *Policy) Granted(application, token string) []Operation {
	return slices.Clone(p.snapshot.Load().applications[application].Grants[token])
}

func unknown(caller authn.Caller) error {
	if caller.Identity == "" {
		return fault.New(fault.Unauthenticated, "the caller has no identity; over TCP a client certificate is needed: run anyhsm enroll")
	}
	if uid, ok := strings.CutPrefix(caller.Identity, "uid:"); ok {
		return fault.New(fault.Unauthenticated, "no application has the identity %s; run: anyhsm app add NAME --user %s", caller.Identity, uid)
	}
	return fault.New(fault.Unauthenticated, "no application has the identity %s, it was revoked or never enrolled; run anyhsm enroll with a new code", caller.Identity)
}

func join(operations []Operation, separator string) string {
	names := make([]string, len(operations))
	for i, o := range operations {
		names[i] = string(o)
	}
	return strings.Join(names, separator)
}

// word makes a token's label one word of a shell: labels may hold spaces and worse.
func word(label string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	if label != "" && strings.IndexFunc(label, func(r rune) bool { return !plain(r) }) < 0 {
		return label
	}
	return "'" + strings.ReplaceAll(label, "'", `'\''`) + "'"
}
