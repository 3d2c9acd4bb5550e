package gcpkms_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func identity() provider.Identity {
	uid := make([]byte, 16)
	_, _ = rand.Read(uid)
	return provider.Identity{UID: hex.EncodeToString(uid), Token: "token"}
}

func p256(id provider.Identity) provider.GenerateRequest {
	on, _ := curve.ByName("P-256")
	return provider.GenerateRequest{
		Identity: id, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public: cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, on.Params)},
		Private: cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
			cryptoki.String(cryptoki.CKA_LABEL, "Web server (Köln)"), cryptoki.Bool(cryptoki.CKA_SIGN, true),
		},
	}
}

// made generates a P-256 key and opens it.
func made(t *testing.T, p *gcpkms.Provider) (provider.Key, string) {
	t.Helper()
	request := p256(identity())
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.Key(t.Context(), provider.Reference{Identity: request.Identity, Ref: generated.Ref, Attributes: append(request.Private, generated.Public...)})
	if err != nil {
		t.Fatal(err)
	}
	return k, string(generated.Ref)
}

func sign(ctx context.Context, k provider.Key) error {
	_, err := k.(provider.Signer).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32))
	return err
}

func wants(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("want %s: %v", kind.Row().RV, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}

const method = "AsymmetricSign"

// TestPassing: what passes is not noticed, and costs no more than the attempts.
func TestPassing(t *testing.T) {
	fake, c := service(t)
	k, _ := made(t, open(t, c))
	for name, f := range map[string]gcpfake.Fault{
		"throttled":        {Times: 3, Code: codes.ResourceExhausted, Message: "Quota exceeded"},
		"unavailable":      {Times: 3, Code: codes.Unavailable},
		"internal":         {Times: 1, Code: codes.Internal},
		"a lost answer":    {Times: 1, Code: codes.Unavailable, Lost: true},
		"damaged request":  {Times: 1, ForgeRequest: func(m any) { m.(*kmspb.AsymmetricSignRequest).GetDigest().GetSha256()[0] ^= 1 }},
		"damaged answer":   {Times: 1, Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).Signature[20] ^= 1 }},
		"no checksum":      {Times: 1, Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).SignatureCrc32C = nil }},
		"unverified":       {Times: 1, Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).VerifiedDigestCrc32C = false }},
		"another one's":    {Times: 1, Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).Name += "0" }},
		"an empty message": {Times: 1, Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).Reset() }},
	} {
		t.Run(name, func(t *testing.T) {
			before := fake.Calls(method)
			f.Method = method
			fake.Inject(f)
			if err := sign(t.Context(), k); err != nil {
				t.Error(err)
			}
			if calls := fake.Calls(method) - before; calls != f.Times+1 {
				t.Errorf("%d calls for %d faults", calls, f.Times)
			}
			fake.Heal()
		})
	}
}

// TestLasting: what lasts becomes an error that says what to do.
func TestLasting(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	k, version := made(t, p)
	_, other := made(t, p)
	short := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	const always = 1000
	for name, tc := range map[string]struct {
		fault gcpfake.Fault
		kind  fault.Kind
		words []string
	}{
		"throttled":   {gcpfake.Fault{Code: codes.ResourceExhausted, Message: "Quota exceeded"}, fault.Throttled, []string{"quota", "useToSign", "anyhsm-test"}},
		"unavailable": {gcpfake.Fault{Code: codes.Unavailable}, fault.DeviceError, []string{"cannot be reached", "network"}},
		"internal":    {gcpfake.Fault{Code: codes.Internal, Message: "oops"}, fault.DeviceError, []string{"status.cloud.google.com"}},
		"hangs":       {gcpfake.Fault{Delay: 5 * time.Second}, fault.DeadlineExceeded, []string{"in time"}},
		"denied":      {gcpfake.Fault{Code: codes.PermissionDenied}, fault.FunctionFailed, []string{"cloudkms.cryptoKeyVersions.useToSign", version}},
		"API off":     {gcpfake.Fault{Code: codes.PermissionDenied, Reason: "SERVICE_DISABLED"}, fault.DeviceError, []string{"gcloud services enable"}},
		"credentials": {gcpfake.Fault{Code: codes.Unauthenticated, Message: "invalid JWT"}, fault.DeviceError, []string{"credentials", "clock"}},
		"damaged":     {gcpfake.Fault{Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).Signature[20] ^= 1 }}, fault.DeviceError, []string{"checksum", version}},
		"refused":     {gcpfake.Fault{Code: codes.InvalidArgument, Message: "no such thing"}, fault.FunctionFailed, []string{"no such thing"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.fault.Times, tc.fault.Method = always, method
			fake.Inject(tc.fault)
			defer fake.Heal()
			wants(t, sign(short(t), k), tc.kind, tc.words...)
		})
	}
	t.Run("another key's signature", func(t *testing.T) {
		defer fake.Heal()
		fake.Inject(gcpfake.Fault{
			Method: method, Times: 2, ForgeRequest: func(m any) { m.(*kmspb.AsymmetricSignRequest).Name = other },
			Forge: func(m any) { m.(*kmspb.AsymmetricSignResponse).Name = version },
		})
		wants(t, sign(t.Context(), k), fault.DeviceError, "another key's")
	})
	if err := sign(t.Context(), k); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestStates: what an administrator does to a key shows, and comes to an end with it.
func TestStates(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	k, version := made(t, p)
	for state, want := range map[kmspb.CryptoKeyVersion_CryptoKeyVersionState]struct {
		kind fault.Kind
		word string
	}{
		kmspb.CryptoKeyVersion_DISABLED:          {fault.FunctionFailed, "enable it"},
		kmspb.CryptoKeyVersion_DESTROY_SCHEDULED: {fault.KeyHandleInvalid, "restore"},
		kmspb.CryptoKeyVersion_DESTROYED:         {fault.KeyHandleInvalid, "destroyed"},
	} {
		fake.SetState(version, state)
		wants(t, sign(t.Context(), k), want.kind, want.word, version)
		found, err := p.Key(t.Context(), k.Reference())
		if want.kind == fault.KeyHandleInvalid {
			wants(t, err, want.kind, want.word)
		} else if err != nil || found == nil {
			t.Errorf("%s: %v", state, err)
		}
		fake.SetState(version, kmspb.CryptoKeyVersion_ENABLED)
		if err := sign(t.Context(), k); err != nil {
			t.Errorf("after %s: %v", state, err)
		}
	}
}

// TestLostAnswers: a key that was made is found again, never made a second time.
func TestLostAnswers(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	request := p256(identity())
	fake.Inject(gcpfake.Fault{Method: "CreateCryptoKey", Times: 1, Code: codes.Unavailable, Lost: true})
	if _, err := p.Generate(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	all, _, err := p.List(t.Context(), "")
	if err != nil || len(all) != 1 || string(all[0].Objects[0].Bytes(cryptoki.CKA_LABEL)) != "Web server (Köln)" {
		t.Fatalf("%d keys: %v %v", len(all), all, err)
	}
	// Another key under our name is not ours.
	request.Identity.Token = "another"
	_, err = p.Generate(t.Context(), request)
	wants(t, err, fault.Conflict)

	secret := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
		cryptoki.Bool(cryptoki.CKA_ENCRYPT, true), cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 32)),
	}
	id := identity()
	fake.Inject(gcpfake.Fault{Method: "ImportCryptoKeyVersion", Times: 1, Code: codes.Unavailable, Lost: true})
	if _, err = p.Import(t.Context(), id, secret); err == nil {
		t.Fatal("an import whose answer was lost is no success")
	}
	generated, err := p.Import(t.Context(), id, secret)
	if err != nil || !strings.HasSuffix(string(generated.Ref), "/cryptoKeyVersions/1") {
		t.Fatalf("%s, %v", generated.Ref, err)
	}
	if calls := fake.Calls("ImportCryptoKeyVersion"); calls != 1 {
		t.Errorf("%d imports", calls)
	}
	// What was refused is imported anew into the same version.
	id = identity()
	fake.Inject(gcpfake.Fault{Method: "ImportCryptoKeyVersion", Times: 1, ForgeRequest: func(m any) { m.(*kmspb.ImportCryptoKeyVersionRequest).WrappedKey[400] ^= 1 }})
	_, err = p.Import(t.Context(), id, secret)
	wants(t, err, fault.AttributeValueInvalid, "did not take")
	if generated, err = p.Import(t.Context(), id, secret); err != nil || !strings.HasSuffix(string(generated.Ref), "/cryptoKeyVersions/1") {
		t.Fatalf("%s, %v", generated.Ref, err)
	}
}

// TestSlowGeneration: a key that is not ready in time is no key yet; the repeated request finds it when it is.
func TestSlowGeneration(t *testing.T) {
	fake, c := service(t)
	c.CallTimeout = 300 * time.Millisecond
	p := open(t, c)
	request := p256(identity())
	fake.Inject(gcpfake.Fault{Method: "GetCryptoKeyVersion", Times: 1000, Forge: func(m any) {
		m.(*kmspb.CryptoKeyVersion).State = kmspb.CryptoKeyVersion_PENDING_GENERATION
	}})
	_, err := p.Generate(t.Context(), request) // without a deadline of its own
	wants(t, err, fault.DeadlineExceeded, "finish the key")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = p.Generate(ctx, request)
	wants(t, err, fault.DeadlineExceeded)
	fake.Heal()
	if generated, err := p.Generate(t.Context(), request); err != nil || len(generated.Public) == 0 {
		t.Errorf("%v, %v", generated, err)
	}
	fake.Inject(gcpfake.Fault{Method: "GetCryptoKeyVersion", Times: 1, Forge: func(m any) {
		m.(*kmspb.CryptoKeyVersion).State, m.(*kmspb.CryptoKeyVersion).GenerationFailureReason = kmspb.CryptoKeyVersion_GENERATION_FAILED, "out of entropy"
	}})
	_, err = p.Generate(t.Context(), p256(identity()))
	wants(t, err, fault.FunctionFailed, "out of entropy")
}

// TestImportOutlivesItsCall: what is imported after the caller has gone is the caller's key, not what became of its copy.
func TestImportOutlivesItsCall(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	value := make([]byte, 32)
	_, _ = rand.Read(value)
	secret := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
		cryptoki.Bool(cryptoki.CKA_ENCRYPT, true), cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	}
	fake.Inject(gcpfake.Fault{Method: "GetImportJob", Times: 1, Delay: 400 * time.Millisecond})
	id := identity()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err := p.Import(ctx, id, secret)
	wants(t, err, fault.DeadlineExceeded)
	generated, err := p.Import(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.Key(t.Context(), provider.Reference{Identity: id, Ref: generated.Ref, Attributes: secret})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.(provider.Encrypter).Encrypt(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: make([]byte, 16)}}, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(value)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 16)
	if block.Encrypt(want, make([]byte, 16)); !bytes.Equal(got, want) {
		t.Error("another key was imported")
	}
	if fake.Calls("ImportCryptoKeyVersion") != 1 {
		t.Error("the key was imported twice")
	}
}

// TestPermissions: each that is missing is named.
func TestPermissions(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	k, _ := made(t, p)
	for permission, call := range map[string]func() error{
		"cloudkms.cryptoKeys.create":               func() error { _, err := p.Generate(t.Context(), p256(identity())); return err },
		"cloudkms.cryptoKeyVersions.viewPublicKey": func() error { _, err := p.Generate(t.Context(), p256(identity())); return err },
		"cloudkms.cryptoKeyVersions.useToSign":     func() error { return sign(t.Context(), k) },
		"cloudkms.cryptoKeyVersions.destroy":       func() error { return p.Destroy(t.Context(), k.Reference()) },
		"cloudkms.cryptoKeys.list":                 func() error { _, _, err := p.List(t.Context(), ""); return err },
		"cloudkms.keyRings.get":                    func() error { return p.Health(t.Context()) },
		"cloudkms.locations.generateRandomBytes":   func() error { _, err := p.Random(t.Context(), 8); return err },
		"cloudkms.cryptoKeyVersions.get":           func() error { _, err := open(t, c).Key(t.Context(), k.Reference()); return err },
		"cloudkms.cryptoKeyVersions.list":          func() error { _, _, err := p.List(t.Context(), ""); return err },
		"cloudkms.cryptoKeys.get":                  func() error { _, err := p.Find(t.Context(), "some-key"); return err },
	} {
		fake.Deny(permission)
		wants(t, call(), fault.FunctionFailed, permission)
		fake.Heal()
	}
}

// TestElsewhere: a key ring that is not there, and a service that does not answer.
func TestElsewhere(t *testing.T) {
	_, c := service(t)
	c.KeyRing = strings.Replace(c.KeyRing, "keyRings/ring", "keyRings/none", 1)
	p := open(t, c)
	wants(t, p.Health(t.Context()), fault.DeviceError, "keyrings create")
	_, err := p.Generate(t.Context(), p256(identity()))
	wants(t, err, fault.DeviceError, "keyrings create")
	c.Endpoint = "http://127.0.0.1:1"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wants(t, open(t, c).Health(ctx), fault.DeviceError, "cannot be reached", "127.0.0.1:1")
}

// TestCalls: a key is looked at once, a use is one call, and a public key is fetched once for all who want it.
func TestCalls(t *testing.T) {
	fake, c := service(t)
	k, version := made(t, open(t, c))
	p := open(t, c)
	before := fake.Calls("GetCryptoKeyVersion")
	for range 10 {
		again, err := p.Key(t.Context(), k.Reference())
		if err != nil {
			t.Fatal(err)
		}
		if err := sign(t.Context(), again); err != nil {
			t.Fatal(err)
		}
	}
	if looks, signs := fake.Calls("GetCryptoKeyVersion")-before, fake.Calls(method); looks != 1 || signs != 10 {
		t.Errorf("%d looks and %d calls to sign 10 times", looks, signs)
	}
	before = fake.Calls("GetPublicKey")
	fake.Inject(gcpfake.Fault{Method: "GetPublicKey", Times: 20, Delay: 200 * time.Millisecond})
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			found, err := p.Find(t.Context(), version)
			if err != nil || string(found.Ref) != version || len(found.Objects) != 2 {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
	wait.Wait()
	if fetched := fake.Calls("GetPublicKey") - before; fetched != 1 {
		t.Errorf("the public key was fetched %d times", fetched)
	}
}

func TestFind(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	_, version := made(t, p)
	name, _, _ := strings.Cut(version, "/cryptoKeyVersions/")
	for _, known := range []string{version, name, name[strings.LastIndex(name, "/")+1:]} {
		if found, err := p.Find(t.Context(), known); err != nil || found.Name != version {
			t.Errorf("%s: %s, %v", known, found.Name, err)
		}
	}
	for _, unknown := range []string{"", "nobody", "a b", name + "/cryptoKeyVersions/2", name + "/cryptoKeyVersions/0", "projects/p", name + "/x"} {
		_, err := p.Find(t.Context(), unknown)
		wants(t, err, fault.NotFound)
	}
	fake.SetState(version, kmspb.CryptoKeyVersion_DISABLED)
	_, err := p.Find(t.Context(), name)
	wants(t, err, fault.NotFound, "enabled")
	_, err = p.Find(t.Context(), version)
	wants(t, err, fault.FunctionFailed, "disabled")
}
