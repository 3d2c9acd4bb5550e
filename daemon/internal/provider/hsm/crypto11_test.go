package hsm

import (
	"strings"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestCheck lets crypto11 sign with our keys, and goes on afterwards.
func TestCheck(t *testing.T) {
	p := connect(t, config("crypto11"))
	k, public := makeKey(t, p, strings.Repeat("a", 32))
	neighbour := connect(t, config("recover"))
	for range 2 {
		results, err := p.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		signed := false
		for _, r := range results {
			if r.Err != nil {
				t.Errorf("%s: %v", r.Name, r.Err)
			}
			signed = signed || strings.Contains(r.Name, strings.Repeat("a", 32))
		}
		if !signed {
			t.Errorf("crypto11 has not signed with the key: %v", results)
		}
		signs(t, k, public)
		if err := neighbour.Health(t.Context()); err != nil {
			t.Errorf("another provider on the library: %v", err)
		}
	}
}

// TestSharedWithCrypto11 uses a library that crypto11 has initialised, and finalises when it closes.
func TestSharedWithCrypto11(t *testing.T) {
	token, err := crypto11.Configure(&crypto11.Config{Path: softhsm, TokenLabel: "crypto11", Pin: userPIN, MaxSessions: 4})
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, config("crypto11"))
	k, public := makeKey(t, p, strings.Repeat("b", 32))
	signs(t, k, public)
	signers, err := token.FindKeyPairs([]byte(strings.Repeat("\xbb", 16)), nil)
	if err != nil || len(signers) != 1 {
		t.Fatalf("crypto11 finds %d keys: %v", len(signers), err)
	}
	if err := signAndVerify(signers[0]); err != nil {
		t.Error(err)
	}
	// The library is not ours alone, so a check has to be refused.
	if _, err := p.Check(t.Context()); !fault.Is(err, fault.FunctionFailed) {
		t.Errorf("Check: %v", err)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	signs(t, k, public)
}
