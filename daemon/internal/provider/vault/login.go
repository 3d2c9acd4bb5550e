package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Paths of the API that are not the transit engine's.
const (
	pathHealth = "sys/health?standbyok=true&perfstandbyok=true"
	pathSelf   = "auth/token/lookup-self"
	pathRenew  = "auth/token/renew-self"
)

// checkLogin tells what a login lacks.
func (c Config) checkLogin() error {
	var missing string
	switch c.Login {
	case LoginToken:
		if c.Token == nil {
			missing = "token"
		}
	case LoginAppRole:
		if c.RoleID == "" || c.SecretID == nil {
			missing = "role_id or secret_id"
		}
	case LoginKubernetes:
		if c.Role == "" || c.ServiceToken == "" {
			missing = "role or service_token"
		}
	case LoginCertificate:
		if c.Certificate == "" || c.Key == "" {
			missing = "certificate or key"
		}
	default:
		return fault.New(fault.InvalidInput, "login = %q is unknown; choose token, approle, kubernetes or cert", c.Login)
	}
	if missing != "" {
		return fault.New(fault.InvalidInput, "%s is missing, which login = %q needs; add it", missing, c.Login)
	}
	return nil
}

// session is the daemon's token and how long it is good for. No lock is held across a call.
type session struct {
	mu    sync.Mutex
	token string
	// expires is when the token ends, the zero time if never; life is how long it was good for when it was new.
	expires   time.Time
	life      time.Duration
	renewable bool
	timer     *time.Timer
	ended     bool
}

// valid returns the token, empty if there is none that is still good.
func (s *session) valid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && !s.expires.IsZero() && time.Now().After(s.expires) {
		s.token = ""
	}
	return s.token
}

// forget drops a token that is not accepted, unless another one has taken its place.
func (s *session) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.ended = "", true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// shortest is the least time between two renewals: a token that lives no longer is not worth them.
const shortest = time.Second

// keep takes a token. It is renewed when two thirds of its time are over.
func (s *session) keep(g grant, life time.Duration, renew func(grant)) {
	left := time.Duration(g.Seconds) * time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.token, s.renewable, s.life, s.expires = g.Token, g.Renewable, life, time.Time{}
	if left > 0 {
		s.expires = time.Now().Add(left)
		s.timer = time.AfterFunc(max(left*2/3, shortest), func() { renew(g) })
	}
}

// again tries another renewal in a third of the time that is left; when it is over, the next call logs in.
func (s *session) again(g grant, renew func(grant)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := time.Until(s.expires); !s.ended && s.token == g.Token && left > shortest {
		s.timer = time.AfterFunc(max(left/3, shortest), func() { renew(g) })
	}
}

// token returns a token; fresh tells that it comes from a login of this moment.
func (p *Provider) token(ctx context.Context) (token string, fresh bool, err error) {
	if token := p.session.valid(); token != "" {
		return token, false, nil
	}
	token, err = join(ctx, p, &p.logins, "log in", p.logIn)
	return token, true, err
}

// logIn gets a token by the method that is configured.
func (p *Provider) logIn(ctx context.Context) (string, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	g, err := p.enter(ctx)
	if err != nil {
		return "", err
	}
	if p.config.Login == LoginToken && g.Seconds > 0 && !g.Renewable {
		p.log.Warn("Vault's token cannot be renewed; put a new one where token points to before it ends", "left", time.Duration(g.Seconds)*time.Second)
	}
	p.session.keep(g, time.Duration(g.Seconds)*time.Second, p.renew)
	return g.Token, nil
}

// enter makes the call of a login.
func (p *Provider) enter(ctx context.Context) (grant, error) {
	r := request{action: "log in", method: http.MethodPost, path: "auth/" + p.config.LoginMount + "/login"}
	var in map[string]string
	switch p.config.Login {
	case LoginToken:
		return p.readToken(ctx)
	case LoginAppRole:
		secret, err := p.config.SecretID()
		if err != nil {
			return grant{}, fault.New(fault.DeviceError, "secret_id: %w", err)
		}
		defer clear(secret)
		in = map[string]string{"role_id": p.config.RoleID, "secret_id": string(secret)}
	case LoginKubernetes:
		text, err := os.ReadFile(p.config.ServiceToken)
		if err != nil {
			return grant{}, fault.New(fault.DeviceError, "service_token: %w; mount the service account's token into the pod", err)
		}
		defer clear(text)
		in = map[string]string{"role": p.config.Role, "jwt": string(bytes.TrimSpace(text))}
	default:
		in = map[string]string{}
		if p.config.Role != "" {
			in["name"] = p.config.Role
		}
		// The login looks at the connection's certificate: one that was made before a renewal has the old one.
		p.client.idle()
	}
	r.in = in
	a, err := p.persist(ctx, r, "")
	if err != nil {
		return grant{}, p.explainLogin(ctx, r, err)
	}
	if a.Auth == nil || a.Auth.Token == "" {
		return grant{}, fault.New(fault.DeviceError, "%s gave no token for the login at auth/%s; a login with a second factor is not supported", p.service(), p.config.LoginMount)
	}
	return *a.Auth, nil
}

// self is what a token tells of itself.
type self struct {
	TTL       int64 `json:"ttl"`
	Renewable bool  `json:"renewable"`
}

// readToken reads the configured token anew, and asks how long it is good for.
func (p *Provider) readToken(ctx context.Context) (grant, error) {
	text, err := p.config.Token()
	if err != nil {
		return grant{}, fault.New(fault.DeviceError, "token: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	clear(text)
	r := request{action: "look at the token", method: http.MethodGet, path: pathSelf}
	a, err := p.persist(ctx, r, token)
	if err != nil {
		return grant{}, p.explainLogin(ctx, r, err)
	}
	var s self
	if json.Unmarshal(a.Data, &s) != nil {
		return grant{}, p.explainTransport(errNoAnswer)
	}
	return grant{Token: token, Seconds: s.TTL, Renewable: s.Renewable}, nil
}

// accepted tells whether a token is still good: Vault answers alike to a token that has ended and to one that lacks a
// permission.
func (p *Provider) accepted(ctx context.Context, token string) bool {
	_, err := p.persist(ctx, request{method: http.MethodGet, path: pathSelf}, token)
	return statusOf(err) != http.StatusForbidden
}

// renew prolongs a token, or logs in anew where that gains little: a token's life has an end.
func (p *Provider) renew(old grant) {
	if p.session.valid() != old.Token || p.life.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.life, p.config.CallTimeout)
	defer cancel()
	p.session.mu.Lock()
	renewable, life := p.session.renewable, p.session.life
	p.session.mu.Unlock()
	if renewable {
		a, err := p.persist(ctx, request{method: http.MethodPost, path: pathRenew, in: map[string]string{}}, old.Token)
		if err == nil && a.Auth != nil && 2*time.Duration(a.Auth.Seconds)*time.Second >= life {
			p.session.keep(grant{Token: old.Token, Seconds: a.Auth.Seconds, Renewable: a.Auth.Renewable}, life, p.renew)
			return
		}
	}
	if _, err := join(ctx, p, &p.logins, "log in", p.logIn); err != nil && p.life.Err() == nil {
		p.log.Warn("Vault's token could not be renewed", "error", err)
		p.session.again(old, p.renew)
	}
}
