package attacks

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// TestGuessedPINs: 50 connections guess a token's PIN as fast as they can. Ten guesses are looked at, then the token is
// locked and stays so, also for the right PIN; whoever uses another token is served meanwhile.
func TestGuessedPINs(t *testing.T) {
	const connections, guesses, looked = 50, 20_000, 10
	d := daemontest.Start(t, daemontest.Options{})
	d.CLI(t, "token", "create", "other", "--so-pin", "env:ANYHSM_TEST_SO_PIN", "--user-pin", "env:ANYHSM_TEST_USER_PIN")
	admin := anyhsmv1.NewTokenAdminServiceClient(call(t, d))
	tokens, err := admin.ListTokens(t.Context(), &anyhsmv1.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	uid := ""
	for _, token := range tokens.GetTokens() {
		if token.GetToken().GetLabel() == d.Token {
			uid = token.GetToken().GetUid()
		}
	}
	good := newVictim(t, d, "other")
	guess := func(service anyhsmv1.TokenServiceClient, pin string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := service.Login(ctx, &anyhsmv1.LoginRequest{
			Header: &anyhsmv1.CallHeader{Token: uid}, UserType: uint64(cryptoki.CKU_USER), Pin: []byte(pin),
		})
		return err
	}
	var made, incorrect, locked atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range connections {
		service := anyhsmv1.NewTokenServiceClient(call(t, d))
		all.Go(func() {
			for n := made.Add(1); n <= guesses; n = made.Add(1) {
				switch err := guess(service, fmt.Sprint("guess ", n)); {
				case fault.Is(err, fault.PINIncorrect):
					incorrect.Add(1)
				case fault.Is(err, fault.PINLocked):
					locked.Add(1)
				default:
					t.Errorf("guess %d: %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%d guesses in %v: %.0f a second; %d were looked at", guesses, took.Round(time.Millisecond), guesses/took.Seconds(), incorrect.Load())
	if incorrect.Load() != looked || locked.Load() != guesses-looked {
		t.Errorf("%d guesses were looked at and %d refused, want %d and %d", incorrect.Load(), locked.Load(), looked, guesses-looked)
	}
	service := anyhsmv1.NewTokenServiceClient(call(t, d))
	for range 3 {
		if err := guess(service, d.UserPIN); !fault.Is(err, fault.PINLocked) {
			t.Errorf("the right PIN: %v", err)
		}
		d.Restart()
	}
	good.end(100)
	d.CLI(t, "token", "unlock", d.Token)
	if err := guess(service, d.UserPIN); err != nil {
		t.Errorf("the right PIN after unlocking: %v", err)
	}
}
