// Package application manages the callers: applications, their identities and grants, and the enrollment that gives
// them certificates. Each change is one transaction with its audit event, and policy knows it before it is answered.
package application

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/fault"
)

var (
	validName     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	validIdentity = regexp.MustCompile(`^(uid:(0|[1-9][0-9]{0,9})|cert:[0-9a-f]{64})$`)
)

// Sealer protects what the store must not hold in clear; seal.Root is one.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// Service manages applications.
type Service struct {
	store     *keystore.Store
	policy    *policy.Policy
	authority *authn.Authority
	sealer    Sealer
	now       func() time.Time
}

// New returns the service. It does not refresh the policy: Load does that at the start.
func New(store *keystore.Store, p *policy.Policy, authority *authn.Authority, sealer Sealer) *Service {
	return &Service{store: store, policy: p, authority: authority, sealer: sealer, now: time.Now}
}

// Loader returns what policy reads its facts with.
func Loader(store *keystore.Store) policy.Loader {
	return func(ctx context.Context) (policy.Facts, error) {
		applications, err := store.Applications(ctx)
		if err != nil {
			return policy.Facts{}, err
		}
		tokens, err := store.Tokens(ctx)
		if err != nil {
			return policy.Facts{}, err
		}
		facts := policy.Facts{Labels: make(map[string]string, len(tokens))}
		for _, t := range tokens {
			facts.Labels[t.UID] = t.Label
		}
		for _, a := range applications {
			known := policy.Application{
				Name: a.Name, Identities: a.Identities, CreateTokens: a.CreateTokens,
				Grants: make(map[string][]policy.Operation, len(a.Grants)),
			}
			for _, g := range a.Grants {
				for _, o := range g.Operations {
					known.Grants[g.Token] = append(known.Grants[g.Token], policy.Operation(o))
				}
			}
			facts.Applications = append(facts.Applications, known)
		}
		return facts, nil
	}
}

// List returns all applications by name. In what the service returns, a grant names its token by the label.
func (s *Service) List(ctx context.Context) ([]keystore.Application, error) {
	applications, err := s.store.Applications(ctx)
	if err != nil {
		return nil, err
	}
	labels, err := s.labels(ctx)
	if err != nil {
		return nil, err
	}
	for i := range applications {
		label(&applications[i], labels)
	}
	return applications, nil
}

// Add registers an application. One that exists gets the identities added.
func (s *Service) Add(ctx context.Context, caller authn.Caller, requestID, name string, identities []string, createTokens bool) (keystore.Application, error) {
	if !validName.MatchString(name) {
		return keystore.Application{}, fault.New(fault.InvalidInput, "%q is no name for an application; use up to 63 lower-case letters, digits, '.', '_' and '-'", name)
	}
	for _, identity := range identities {
		if !validIdentity.MatchString(identity) {
			return keystore.Application{}, fault.New(fault.InvalidInput, "%q is no identity; write uid:N for a Unix user or cert:HEX for an enrolled key", identity)
		}
	}
	event := s.event(caller, "application.add", "", name+" "+strings.Join(identities, " "))
	return s.change(ctx, caller, requestID, event, func(tx *keystore.Tx) (keystore.Application, error) {
		all, err := tx.Applications(ctx)
		if err != nil {
			return keystore.Application{}, err
		}
		application := keystore.Application{Name: name, Created: s.now()}
		for _, other := range all {
			if other.Name == name {
				application = other
				continue
			}
			for _, identity := range identities {
				if slices.Contains(other.Identities, identity) {
					return keystore.Application{}, fault.New(fault.AlreadyExists, "the identity %s already belongs to application %s; an identity has one application: grant that application, or remove it first: anyhsm app revoke %s --all", identity, other.Name, other.Name)
				}
			}
		}
		for _, identity := range identities {
			if !slices.Contains(application.Identities, identity) {
				application.Identities = append(application.Identities, identity)
			}
		}
		application.CreateTokens = application.CreateTokens || createTokens
		return application, tx.PutApplication(application)
	})
}

// Grant lets an application do operations on a token, these and no others: it replaces what was granted on that token
// before. No operations means that it may use the token.
func (s *Service) Grant(ctx context.Context, caller authn.Caller, requestID, name, token string, operations []string) (keystore.Application, error) {
	if len(operations) == 0 {
		operations = []string{string(policy.Use)}
	}
	for _, o := range operations {
		if !slices.Contains(policy.Operations(), policy.Operation(o)) {
			return keystore.Application{}, fault.New(fault.InvalidInput, "%q is no operation; choose of use, create, modify, destroy and so", o)
		}
	}
	found, err := s.store.TokenByName(ctx, token)
	if err != nil {
		return keystore.Application{}, err
	}
	event := s.event(caller, "application.grant", found.UID, name+" "+strings.Join(operations, ","))
	return s.change(ctx, caller, requestID, event, func(tx *keystore.Tx) (keystore.Application, error) {
		application, err := tx.Application(ctx, name)
		if err != nil {
			return keystore.Application{}, err
		}
		at := slices.IndexFunc(application.Grants, func(g keystore.Grant) bool { return g.Token == found.UID })
		if at < 0 {
			application.Grants = append(application.Grants, keystore.Grant{Token: found.UID})
			at = len(application.Grants) - 1
		}
		application.Grants[at].Operations = ordered(operations)
		return application, tx.PutApplication(application)
	})
}

// ordered returns the operations once each, in the order of policy.Operations.
func ordered(operations []string) []string {
	var all []string
	for _, o := range policy.Operations() {
		if slices.Contains(operations, string(o)) {
			all = append(all, string(o))
		}
	}
	return all
}

// Revoke takes the grant for a token back or, without a token, the whole application with its identities: its
// certificates are refused from then on. It returns the application as it is then, or as it was.
func (s *Service) Revoke(ctx context.Context, caller authn.Caller, requestID, name, token string) (keystore.Application, error) {
	if token == "" {
		event := s.event(caller, "application.remove", "", name)
		return s.change(ctx, caller, requestID, event, func(tx *keystore.Tx) (keystore.Application, error) {
			application, err := tx.Application(ctx, name)
			if err != nil {
				return keystore.Application{}, err
			}
			return application, tx.DeleteApplication(name)
		})
	}
	found, err := s.store.TokenByName(ctx, token)
	if err != nil {
		return keystore.Application{}, err
	}
	event := s.event(caller, "application.revoke", found.UID, name)
	return s.change(ctx, caller, requestID, event, func(tx *keystore.Tx) (keystore.Application, error) {
		application, err := tx.Application(ctx, name)
		if err != nil {
			return keystore.Application{}, err
		}
		kept := slices.DeleteFunc(slices.Clone(application.Grants), func(g keystore.Grant) bool { return g.Token == found.UID })
		if len(kept) == len(application.Grants) {
			return keystore.Application{}, fault.New(fault.NotFound, "application %s has no grant for token %s; see anyhsm app list", name, found.Label)
		}
		application.Grants = kept
		return application, tx.PutApplication(application)
	})
}

// change runs a change of one application and refreshes the policy. A repeated request gets the first answer, and
// refreshes as well: perhaps it was the refresh that failed the first time.
func (s *Service) change(ctx context.Context, caller authn.Caller, requestID string, event audit.Event, do func(*keystore.Tx) (keystore.Application, error)) (keystore.Application, error) {
	response, _, err := s.store.Change(ctx, keystore.Change{RequestID: requestID, Application: owner(caller), Event: event},
		func(tx *keystore.Tx) ([]byte, error) {
			application, err := do(tx)
			if err != nil {
				return nil, err
			}
			return json.Marshal(application)
		})
	if err != nil {
		return keystore.Application{}, err
	}
	if err := s.policy.Refresh(ctx); err != nil {
		return keystore.Application{}, err
	}
	var application keystore.Application
	if err := json.Unmarshal(response, &application); err != nil {
		return keystore.Application{}, fault.New(fault.StoreDamaged, "the recorded answer to request %s cannot be read: %w; repeat the command with a new request", requestID, err)
	}
	labels, err := s.labels(ctx)
	if err != nil {
		return keystore.Application{}, err
	}
	label(&application, labels)
	return application, nil
}

// owner is whom a request id belongs to.
func owner(caller authn.Caller) string {
	if caller.Application != "" {
		return caller.Application
	}
	return caller.Identity
}

func (s *Service) event(caller authn.Caller, operation, token, detail string) audit.Event {
	return audit.Event{
		Application: caller.Application, Identity: caller.Identity, Operation: operation,
		Token: token, Outcome: "OK", Detail: strings.TrimSpace(detail),
	}
}

// labels returns the tokens' labels by uid, without those that two tokens have.
func (s *Service) labels(ctx context.Context) (map[string]string, error) {
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	labels, count := map[string]string{}, map[string]int{}
	for _, t := range tokens {
		labels[t.UID] = t.Label
		count[t.Label]++
	}
	for uid, l := range labels {
		if l == "" || count[l] > 1 {
			delete(labels, uid)
		}
	}
	return labels, nil
}

func label(application *keystore.Application, labels map[string]string) {
	for i, g := range application.Grants {
		if l := labels[g.Token]; l != "" {
			application.Grants[i].Token = l
		}
	}
}
