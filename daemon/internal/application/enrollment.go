package application

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/enrollment"
	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	defaultCodeLife = 24 * time.Hour
	maxCodeLife     = 30 * 24 * time.Hour
	codePurpose     = "enrollment-code"
)

// CreateCode makes a one-time code with which an application gets a certificate. The store keeps its hash, and for a
// repeated request the code itself, sealed.
func (s *Service) CreateCode(ctx context.Context, caller authn.Caller, requestID, name string, life time.Duration) (code string, expires time.Time, err error) {
	if life == 0 {
		life = defaultCodeLife
	}
	if life < time.Minute || life > maxCodeLife {
		return "", time.Time{}, fault.New(fault.InvalidInput, "an enrollment code cannot be valid for %s; choose 1m to 720h", life)
	}
	event := s.event(caller, "enrollment.code", "", name)
	aad := []byte(name)
	response, _, err := s.store.Change(ctx, keystore.Change{RequestID: requestID, Application: owner(caller), Event: event},
		func(tx *keystore.Tx) ([]byte, error) {
			if _, err := tx.Application(ctx, name); err != nil {
				return nil, err
			}
			fresh := enrollment.New(s.authority.Certificate())
			until := s.now().Add(life).UTC().Truncate(time.Second)
			if err := tx.PutEnrollmentCode(fresh.Hash(), name, until); err != nil {
				return nil, err
			}
			return s.sealer.Seal(codePurpose, []byte(until.Format(time.RFC3339)+" "+fresh.String()), aad)
		})
	if err != nil {
		return "", time.Time{}, err
	}
	opened, err := s.sealer.Open(codePurpose, response, aad)
	if err != nil {
		return "", time.Time{}, err
	}
	until, code, _ := strings.Cut(string(opened), " ")
	expires, err = time.Parse(time.RFC3339, until)
	if err != nil {
		return "", time.Time{}, fault.New(fault.StoreDamaged, "the recorded answer to request %s cannot be read: %w; ask for another code", requestID, err)
	}
	return code, expires, nil
}

// Enrolled is the result of an enrollment.
type Enrolled struct {
	// Chain is PEM, the leaf first; Authority is the authority's certificate as PEM.
	Chain, Authority []byte
	Application      string
}

// Enroll gives the key of a certificate request a certificate, and its application the key's identity. A code is good
// for one key: the same request with the same code gets its certificate again, in case the answer was lost. A caller
// who comes with a certificate needs no code to have it renewed for the same key.
func (s *Service) Enroll(ctx context.Context, caller authn.Caller, codeText string, request []byte) (Enrolled, error) {
	csr, err := authn.ParseRequest(request)
	if err != nil {
		return Enrolled{}, err
	}
	identity := authn.IdentityOfKey(csr.RawSubjectPublicKeyInfo)
	if codeText == "" && caller.Application != "" && caller.Identity == identity {
		return s.renew(ctx, caller, request)
	}
	code, err := enrollment.Parse(codeText)
	if err != nil {
		return Enrolled{}, fault.New(fault.InvalidInput, "%w", err)
	}
	if !code.Names(s.authority.Certificate()) {
		return Enrolled{}, fault.New(fault.Unauthenticated, "the enrollment code was made by another daemon; ask the administrator of this one for a code")
	}
	once := sha256.Sum256(slices.Concat([]byte("enroll\x00"), code.Hash(), csr.RawSubjectPublicKeyInfo))
	change := keystore.Change{
		RequestID: hex.EncodeToString(once[:16]), Application: identity,
		Event: s.event(authn.Caller{Identity: identity}, "enrollment.use", "", ""),
	}
	response, _, err := s.store.Change(ctx, change, func(tx *keystore.Tx) ([]byte, error) {
		name, err := tx.TakeEnrollmentCode(code.Hash())
		if err != nil {
			return nil, err
		}
		application, err := tx.Application(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := free(ctx, tx, name, identity); err != nil {
			return nil, err
		}
		leaf, err := s.authority.SignApplication(name, request)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(application.Identities, identity) {
			application.Identities = append(application.Identities, identity)
		}
		tx.Event.Application = name
		tx.Event.Detail = "certificate until " + leaf.NotAfter.UTC().Format(time.DateOnly)
		if err := tx.PutApplication(application); err != nil {
			return nil, err
		}
		return append([]byte(name+"\n"), leaf.Raw...), nil
	})
	if err != nil {
		return Enrolled{}, err
	}
	if err := s.policy.Refresh(ctx); err != nil {
		return Enrolled{}, err
	}
	name, leaf, _ := strings.Cut(string(response), "\n")
	return s.enrolled(name, []byte(leaf)), nil
}

// free refuses a key that another application has.
func free(ctx context.Context, tx *keystore.Tx, name, identity string) error {
	all, err := tx.Applications(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Name != name && slices.Contains(other.Identities, identity) {
			return fault.New(fault.AlreadyExists, "this key belongs to application %s already; enroll with a new key", other.Name)
		}
	}
	return nil
}

func (s *Service) renew(ctx context.Context, caller authn.Caller, request []byte) (Enrolled, error) {
	leaf, err := s.authority.SignApplication(caller.Application, request)
	if err != nil {
		return Enrolled{}, err
	}
	event := s.event(caller, "enrollment.renew", "", "certificate until "+leaf.NotAfter.UTC().Format(time.DateOnly))
	_, _, err = s.store.Change(ctx, keystore.Change{Application: caller.Application, Event: event},
		func(*keystore.Tx) ([]byte, error) { return nil, nil })
	if err != nil {
		return Enrolled{}, err
	}
	return s.enrolled(caller.Application, leaf.Raw), nil
}

func (s *Service) enrolled(name string, leaf []byte) Enrolled {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.authority.Certificate().Raw})
	return Enrolled{
		Chain:       append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), authority...),
		Authority:   authority,
		Application: name,
	}
}
