package awskms_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// all lists all pages.
func all(t *testing.T, p *awskms.Provider) (found []provider.Found, pages int) {
	t.Helper()
	for page := ""; ; {
		some, next, err := p.List(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		found, pages = append(found, some...), pages+1
		if next == "" {
			return found, pages
		}
		page = next
	}
}

// TestAccount lists an account with all sorts of keys.
func TestAccount(t *testing.T) {
	fake, url := service(t)
	for range 120 {
		fake.Add("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
	}
	want := map[string]string{}
	for i := range 60 {
		id := fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
		want[fake.ARN(id)] = id
		if i%2 == 0 {
			name := fmt.Sprintf("shop/%d", i)
			fake.Name(name, id)
			want[fake.ARN(id)] = name
		}
	}
	for spec, usage := range map[string]string{"RSA_2048": "ENCRYPT_DECRYPT", "ECC_NIST_P384": "KEY_AGREEMENT", "HMAC_256": "GENERATE_VERIFY_MAC", "ECC_NIST_EDWARDS25519": "SIGN_VERIFY"} {
		id := fake.Add(spec, usage)
		want[fake.ARN(id)] = id
	}
	disabled := fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
	fake.Disable(disabled)
	p := open(t, settings(url))
	found, pages := all(t, p)
	if len(found) != len(want)+1 || pages < 3 {
		t.Errorf("%d keys on %d pages, want %d", len(found), pages, len(want)+1)
	}
	for _, f := range found {
		if f.Name == fake.ARN(disabled) {
			if f.State != "Disabled" || len(f.Objects) > 0 || len(f.Ref) == 0 {
				t.Errorf("the disabled key is listed as %+v", f)
			}
			continue
		}
		if label := string(f.Objects[0].Bytes(cryptoki.CKA_LABEL)); label != want[f.Name] {
			t.Errorf("%s has the label %q, want %q", f.Name, label, want[f.Name])
		}
	}
	// The second time the public halves are known.
	before := fake.Calls("GetPublicKey")
	all(t, p)
	if n := fake.Calls("GetPublicKey") - before; n != 0 {
		t.Errorf("%d public keys were fetched again", n)
	}
	if _, _, err := p.List(t.Context(), "no marker!"); err == nil {
		t.Error("a marker that is none was taken")
	}
	if _, err := p.Find(t.Context(), disabled); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("a disabled key: %v", err)
	}
}

// TestLargeAccount: the first key in an account of many without aliases takes a look at all; an attempt that breaks off
// leaves what it has learnt to the next one, and the second key takes one look at the list.
func TestLargeAccount(t *testing.T) {
	const many = 3000
	fake, url := service(t)
	for range many {
		fake.Add("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
	}
	p := open(t, settings(url))
	fake.Inject(awsfake.Fault{Operation: "ListResourceTags", Skip: many / 2, Times: many, Code: "AccessDeniedException", Message: "no"})
	fake.Inject(awsfake.Fault{Operation: "CreateKey", Times: 1, Code: "LimitExceededException", Message: "The quota of KMS keys is used up"})
	if _, err := p.Generate(t.Context(), p256(uid)); !fault.Is(err, fault.DeviceMemory) {
		t.Errorf("no more keys: %v", err)
	}
	fake.Heal()
	fresh := open(t, settings(url))
	fake.Inject(awsfake.Fault{Operation: "ListResourceTags", Skip: many / 2, Times: 1, Code: "ValidationException", Status: 500})
	before := fake.Calls("ListResourceTags")
	key(t, fresh, uid)
	if n := fake.Calls("ListResourceTags") - before; n > many+10 {
		t.Errorf("%d looks at the tags of %d keys", n, many)
	}
	before = fake.Calls("ListResourceTags")
	lists := fake.Calls("ListKeys")
	key(t, fresh, "ffffffffffffffffffffffffffffffff")
	if n := fake.Calls("ListResourceTags") - before; n > 1 {
		t.Errorf("the second key took %d looks at tags", n)
	}
	if n := fake.Calls("ListKeys") - lists; n != many/1000+1 {
		t.Errorf("the second key took %d pages of the list", n)
	}
	impatient := open(t, settings(url))
	before = fake.Calls("ListResourceTags")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := impatient.Generate(short, p256("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee")); err == nil {
		t.Log("the machine is fast: all keys were looked at in 50 ms")
	}
	key(t, impatient, "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee")
	if n := fake.Calls("ListResourceTags") - before; n > many+10 {
		t.Errorf("after an attempt that broke off, %d looks at the tags of %d keys", n, many)
	}
}

// TestDeniedKey: one key whose policy shuts us out does not spoil the listing.
func TestDeniedKey(t *testing.T) {
	fake, url := service(t)
	for range 10 {
		fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
	}
	fake.Inject(awsfake.Fault{Operation: "DescribeKey", Times: 1, Code: "AccessDeniedException", Message: "not authorized to perform: kms:DescribeKey"})
	if found, _ := all(t, open(t, settings(url))); len(found) != 9 {
		t.Errorf("%d keys, want 9", len(found))
	}
	fake.Inject(awsfake.Fault{Operation: "ListKeys", Times: 1, Code: "AccessDeniedException", Message: "not authorized to perform: kms:ListKeys"})
	if _, _, err := open(t, settings(url)).List(t.Context(), ""); !fault.Is(err, fault.FunctionFailed) {
		t.Errorf("no permission to list: %v", err)
	}
}

// TestFind finds a key by all its names.
func TestFind(t *testing.T) {
	fake, url := service(t)
	id := fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
	fake.Name("web", id)
	p := open(t, settings(url))
	var ref []byte
	for _, name := range []string{id, fake.ARN(id), "alias/web", "web", "arn:aws:kms:" + awsfake.Region + ":" + awsfake.Account + ":alias/web"} {
		f, err := p.Find(t.Context(), name)
		if err != nil || f.Name != fake.ARN(id) || ref != nil && string(ref) != string(f.Ref) {
			t.Errorf("%s: %v, %v", name, f.Name, err)
			continue
		}
		ref = f.Ref
		if _, err := p.Key(t.Context(), provider.Reference{Ref: f.Ref, Attributes: f.Objects[0]}); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"nobody", "alias/nobody", "", "arn:aws:kms:us-east-1:111122223333:key/" + id, "11111111-2222-4333-8444-555555555555"} {
		if _, err := p.Find(t.Context(), name); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestFewCalls: what is known is not asked for again.
func TestFewCalls(t *testing.T) {
	fake, url := service(t)
	signer, ref := key(t, open(t, settings(url)), uid)
	for range 10 {
		if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
			t.Fatal(err)
		}
	}
	if n := fake.Calls("Sign"); n != 10 || fake.Calls("GetPublicKey") != 1 {
		t.Errorf("10 signatures took %d calls and %d fetches of the public key", n, fake.Calls("GetPublicKey"))
	}
	fresh := open(t, settings(url))
	before := fake.Calls("DescribeKey")
	for range 10 {
		if _, err := fresh.Key(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if n := fake.Calls("DescribeKey") - before; n != 1 {
		t.Errorf("finding a key ten times took %d calls", n)
	}
	// Whoever asks, a public half is fetched by one.
	before = fake.Calls("GetPublicKey")
	another := open(t, settings(url))
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() { _, _, _ = another.List(t.Context(), "") })
	}
	wait.Wait()
	if n := fake.Calls("GetPublicKey") - before; n != 1 {
		t.Errorf("16 listings at once fetched one public key %d times", n)
	}
}

// TestImportAgain: an import that broke off is finished by the retry, with the same key.
func TestImportAgain(t *testing.T) {
	value := make([]byte, 32)
	rand.Read(value)
	attributes := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
		cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	}
	identity := provider.Identity{UID: uid, Token: "t"}
	for name, f := range map[string]awsfake.Fault{
		"no parameters":          {Operation: "GetParametersForImport", Times: 1000, Status: 500},
		"the material is lost":   {Operation: "ImportKeyMaterial", Times: 1000, HalfClosed: true},
		"the answer is lost":     {Operation: "ImportKeyMaterial", Times: 1000, Lost: true},
		"the token has expired":  {Operation: "ImportKeyMaterial", Times: 1, Code: "ExpiredImportTokenException"},
		"the new key is unnamed": {Operation: "CreateAlias", Times: 1000, Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			fake, url := service(t)
			fake.Inject(f)
			impatient := settings(url)
			impatient.CallTimeout = time.Second
			if _, err := open(t, impatient).Import(t.Context(), identity, attributes); err == nil && f.Operation != "ImportKeyMaterial" {
				t.Error("the import was not noticed to have failed")
			}
			fake.Heal()
			p := open(t, settings(url))
			made, err := p.Import(t.Context(), identity, attributes)
			if err != nil {
				t.Fatal(err)
			}
			k, err := p.Key(t.Context(), provider.Reference{Identity: identity, Ref: made.Ref, Attributes: attributes})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, digest); err != nil {
				t.Error(err)
			}
			if n := fake.Living(); n != 1 {
				t.Errorf("%d keys are billed, not 1", n)
			}
		})
	}
}

// TestOtherRequest: the same identity for another kind of key is refused, not answered with the wrong key.
func TestOtherRequest(t *testing.T) {
	_, url := service(t)
	p := open(t, settings(url))
	key(t, p, uid)
	if _, err := p.Generate(t.Context(), p256(uid, cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, []cryptoki.MechanismType{cryptoki.CKM_ECDH1_DERIVE}))); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
}
