package keyservice

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// viewKeys bounds the keys that a view lists of one token.
const viewKeys = 1000

// healthTime is how long a provider gets to say that it would serve.
const healthTime = 5 * time.Second

// ExplainView returns what an application, or an identity as uid:33, sees and why it does not see the rest; empty for
// the caller.
func (s *Service) ExplainView(ctx context.Context, call Call, application string) (view View, err error) {
	if err := administrator(call); err != nil {
		return View{}, err
	}
	viewer, identities, err := s.viewer(ctx, call, application)
	if err != nil {
		return View{}, settle(err)
	}
	view = View{Application: viewer.Application, Identities: identities}
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return View{}, settle(err)
	}
	for _, t := range tokens {
		if !s.policy.Visible(viewer, t.UID) {
			view.Hidden = append(view.Hidden, HiddenToken{Label: t.Label, Reason: fmt.Sprint(s.policy.Allow(viewer, t.UID, policy.Use))})
			continue
		}
		visible, err := s.visible(ctx, viewer, t)
		if err != nil {
			return View{}, settle(err)
		}
		view.Visible = append(view.Visible, visible)
	}
	return view, nil
}

// viewer is the caller that an application or identity would be.
func (s *Service) viewer(ctx context.Context, call Call, application string) (authn.Caller, []string, error) {
	if application == "" {
		return call.Caller, []string{call.Caller.Identity}, nil
	}
	if strings.Contains(application, ":") {
		name, admin := s.policy.Resolve(application)
		return authn.Caller{Identity: application, Application: name, Admin: admin}, []string{application}, nil
	}
	known, err := s.store.Application(ctx, application)
	if err != nil {
		return authn.Caller{}, nil, err
	}
	viewer := authn.Caller{Application: known.Name}
	if len(known.Identities) > 0 {
		viewer.Identity = known.Identities[0]
	}
	return viewer, known.Identities, nil
}

func (s *Service) visible(ctx context.Context, viewer authn.Caller, t keystore.Token) (v VisibleToken, err error) {
	if v.Token, err = s.tokenSummary(ctx, t); err != nil {
		return v, err
	}
	for _, operation := range policy.Operations() {
		if s.policy.Allow(viewer, t.UID, operation) == nil {
			v.Operations = append(v.Operations, string(operation))
		}
	}
	objects, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: t.UID, Limit: viewKeys})
	if err != nil {
		return v, err
	}
	v.Keys = summaries(objects)
	v.Warnings = append(s.pinWarnings(t), s.keyWarnings(ctx, t, v.Keys)...)
	v.Warnings = append(v.Warnings, s.limitWarnings(objects)...)
	if !slices.Contains(v.Operations, string(policy.Use)) {
		v.Warnings = append(v.Warnings, fmt.Sprint(s.policy.Allow(viewer, t.UID, policy.Use)))
	}
	return v, nil
}

func (s *Service) pinWarnings(t keystore.Token) (warnings []string) {
	switch {
	case t.NoLogin:
	case t.User.Hash == "":
		warnings = append(warnings, "no user PIN is set, so nobody can log in: run anyhsm token unlock --user-pin, or C_InitPIN as SO")
	case t.User.Failed >= s.config.MaxFailed:
		warnings = append(warnings, "the user PIN is locked after wrong tries: run anyhsm token unlock")
	case t.User.Failed > 0:
		warnings = append(warnings, fmt.Sprintf("the user PIN was wrong %d times in a row; it locks after %d", t.User.Failed, s.config.MaxFailed))
	}
	if t.SO.Hash != "" && t.SO.Failed >= s.config.MaxFailed {
		warnings = append(warnings, "the SO PIN is locked after wrong tries: run anyhsm token unlock")
	}
	return warnings
}

// keyWarnings names the providers that will not serve, and the private keys that Java does not show.
func (s *Service) keyWarnings(ctx context.Context, t keystore.Token, keys []KeySummary) (warnings []string) {
	providers := []string{t.Provider}
	certified := map[string]bool{}
	for _, k := range keys {
		if k.Provider != "" && !slices.Contains(providers, k.Provider) {
			providers = append(providers, k.Provider)
		}
		if k.Class == cryptoki.CKO_CERTIFICATE {
			certified[string(k.KeyID)] = true
		}
	}
	for _, name := range providers {
		if b, err := s.backend(name); err != nil {
			warnings = append(warnings, err.Error())
		} else if err := health(ctx, b); err != nil {
			warnings = append(warnings, fmt.Sprintf("provider %s does not serve: %v", name, err))
		}
	}
	for _, k := range keys {
		if k.Class == cryptoki.CKO_PRIVATE_KEY && !certified[string(k.KeyID)] {
			warnings = append(warnings, fmt.Sprintf("private key %q has no certificate with its id, so Java does not show it: run anyhsm cert import", k.Label))
		}
	}
	return warnings
}

// health asks a provider whether it would serve; one that cannot tell would.
func health(ctx context.Context, b *backend) error {
	checker, ok := b.Provider.(provider.HealthChecker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	return settle(checker.Health(ctx))
}
