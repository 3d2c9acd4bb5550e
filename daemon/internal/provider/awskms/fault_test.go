package awskms_test

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// p256 is a request for a key pair.
func p256(uid string, extra ...cryptoki.Attribute) provider.GenerateRequest {
	on, _ := curve.ByName("P-256")
	return provider.GenerateRequest{
		Identity:  provider.Identity{UID: uid, Token: "t"},
		Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public:    cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, on.Params)},
		Private: append(cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
			cryptoki.String(cryptoki.CKA_LABEL, "web"), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_DERIVE, true),
		}, extra...),
	}
}

const uid = "00112233445566778899aabbccddeeff"

// key makes a key and opens it.
func key(t *testing.T, p *awskms.Provider, uid string) (provider.Signer, provider.Reference) {
	t.Helper()
	request := p256(uid)
	made, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	ref := provider.Reference{Identity: request.Identity, Ref: made.Ref, Attributes: append(request.Private, made.Public...)}
	k, err := p.Key(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return k.(provider.Signer), ref
}

var (
	ecdsa  = cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	digest = func() []byte { sum := sha256.Sum256([]byte("data")); return sum[:] }()
)

// TestLostAnswers: however an attempt to make a key ends, the retry finds the key that it made.
func TestLostAnswers(t *testing.T) {
	for name, inject := range map[string][]awsfake.Fault{
		"CreateKey's answer is lost":          {{Operation: "CreateKey", Times: 1, Lost: true}},
		"CreateKey's answer is lost twice":    {{Operation: "CreateKey", Times: 2, Lost: true}},
		"CreateKey fails":                     {{Operation: "CreateKey", Times: 1, Code: "KMSInternalException", Status: 500}},
		"CreateKey is cut off":                {{Operation: "CreateKey", Times: 1, HalfClosed: true}},
		"CreateKey is throttled":              {{Operation: "CreateKey", Times: 2, Code: "ThrottlingException", Message: "Rate exceeded"}},
		"CreateAlias's answer is lost":        {{Operation: "CreateAlias", Times: 1, Lost: true}},
		"CreateAlias fails":                   {{Operation: "CreateAlias", Times: 2, Status: 503}},
		"the new key does not show at once":   {{Operation: "CreateAlias", Times: 1, Code: "NotFoundException", Message: "Key does not exist"}},
		"the public key does not show":        {{Operation: "GetPublicKey", Times: 1, Code: "NotFoundException", Message: "Key does not exist"}},
		"everything fails once in a while":    {{Times: 2, Status: 502}, {Skip: 4, Times: 1, Status: 500}},
		"the list of keys fails":              {{Operation: "ListKeys", Times: 1, Status: 500}},
		"the answer of a list is half closed": {{Operation: "ListAliases", Times: 1, HalfClosed: true}},
	} {
		t.Run(name, func(t *testing.T) {
			fake, url := service(t)
			for _, f := range inject {
				fake.Inject(f)
			}
			p := open(t, settings(url))
			signer, ref := key(t, p, uid)
			if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
				t.Error(err)
			}
			again, err := open(t, settings(url)).Generate(t.Context(), p256(uid))
			if err != nil || string(again.Ref) != string(ref.Ref) {
				t.Errorf("after a restart the request made another key: %v", err)
			}
			if n := fake.Living(); n != 1 {
				t.Errorf("%d keys are billed, not 1", n)
			}
		})
	}
}

// TestCrash: the daemon dies between CreateKey and CreateAlias, and another replica gets the retry.
func TestCrash(t *testing.T) {
	fake, url := service(t)
	for range 250 { // An account that is not empty, some of it without aliases.
		fake.Add("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
	}
	running := open(t, settings(url))
	key(t, running, "ffffffffffffffffffffffffffffffff") // It knows the account by now.
	fake.Inject(awsfake.Fault{Operation: "CreateAlias", Times: 1000, Code: "KMSInternalException", Status: 500})
	dying := settings(url)
	dying.CallTimeout = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := open(t, dying).Generate(ctx, p256(uid)); err == nil {
		t.Fatal("a key without its alias was delivered")
	}
	time.Sleep(1500 * time.Millisecond) // Its last attempt has ended.
	fake.Heal()
	before := fake.Calls("ListResourceTags")
	made, err := running.Generate(t.Context(), p256(uid))
	if err != nil {
		t.Fatal(err)
	}
	if n := fake.Living(); n != 252 {
		t.Errorf("%d keys are billed, not 252", n)
	}
	if n := fake.Calls("ListResourceTags") - before; n > 1 {
		t.Errorf("%d tags were read for one new key", n)
	}
	again, err := open(t, settings(url)).Generate(t.Context(), p256(uid))
	if err != nil || string(again.Ref) != string(made.Ref) {
		t.Errorf("the next request made another key: %v", err)
	}
}

// TestRace: several replicas get one request at once, and one key stays.
func TestRace(t *testing.T) {
	fake, url := service(t)
	refs := make([]string, 6)
	var wait sync.WaitGroup
	for i := range refs {
		p := open(t, settings(url))
		wait.Go(func() {
			made, err := p.Generate(t.Context(), p256(uid))
			if err != nil {
				t.Error(err)
			}
			refs[i] = string(made.Ref)
		})
	}
	wait.Wait()
	for _, ref := range refs {
		if ref != refs[0] {
			t.Errorf("two keys for one object: %s and %s", ref, refs[0])
		}
	}
	if n := fake.Living(); n != 1 {
		t.Errorf("%d keys are billed, not 1", n)
	}
}

// TestAgainAfterDestroy: the store refused the object, keyservice destroyed the key, and the application asks again.
func TestAgainAfterDestroy(t *testing.T) {
	fake, url := service(t)
	p := open(t, settings(url))
	signer, ref := key(t, p, uid)
	if err := p.Destroy(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), ecdsa, digest); !fault.Is(err, fault.KeyHandleInvalid) {
		t.Errorf("a destroyed key: %v", err)
	}
	_, again := key(t, p, uid)
	if string(again.Ref) == string(ref.Ref) || fake.Living() != 1 {
		t.Errorf("%d living keys; the reference is the destroyed key's: %t", fake.Living(), string(again.Ref) == string(ref.Ref))
	}
}

// TestErrors: each error of the service becomes the right code, and names the next step.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		inject awsfake.Fault
		kind   fault.Kind
		says   []string
	}{
		{"throttled", awsfake.Fault{Code: "ThrottlingException", Message: "You have exceeded the rate at which you may call KMS."}, fault.Throttled, []string{"throttles", "kms:Sign", "quota"}},
		{"denied", awsfake.Fault{Code: "AccessDeniedException", Message: "User: u is not authorized to perform: kms:Sign"}, fault.FunctionFailed, []string{"denies kms:Sign", "IAM policy"}},
		{"disabled", awsfake.Fault{Code: "DisabledException", Message: "is disabled."}, fault.FunctionFailed, []string{"disabled", "enable-key"}},
		{"pending deletion", awsfake.Fault{Code: "KMSInvalidStateException", Message: "k is pending deletion."}, fault.KeyHandleInvalid, []string{"scheduled for deletion", "cancel-key-deletion"}},
		{"pending import", awsfake.Fault{Code: "KMSInvalidStateException", Message: "k is pending import."}, fault.FunctionFailed, []string{"no key material"}},
		{"gone", awsfake.Fault{Code: "NotFoundException", Message: "Key does not exist"}, fault.KeyHandleInvalid, []string{"deleted", "another region"}},
		{"expired credentials", awsfake.Fault{Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}, fault.DeviceError, []string{"have expired", "renew"}},
		{"wrong credentials", awsfake.Fault{Code: "UnrecognizedClientException", Message: "The security token included in the request is invalid."}, fault.DeviceError, []string{"access key"}},
		{"clock", awsfake.Fault{Code: "InvalidSignatureException", Message: "Signature expired: 20261123T000000Z is now earlier than 20261123T001000Z"}, fault.DeviceError, []string{"clock"}},
		{"not enabled region", awsfake.Fault{Code: "OptInRequired", Message: "The AWS Access Key Id needs a subscription for the service"}, fault.DeviceError, []string{"enabled this region"}},
		{"wrong usage", awsfake.Fault{Code: "InvalidKeyUsageException", Message: "key usage is KEY_AGREEMENT"}, fault.KeyFunctionNotPermitted, []string{"another use"}},
		{"broken", awsfake.Fault{Code: "KMSInternalException", Status: 500}, fault.DeviceError, []string{"AWS's service status"}},
		{"no body", awsfake.Fault{Status: 503}, fault.DeviceError, nil},
		{"half closed", awsfake.Fault{HalfClosed: true}, fault.DeviceError, []string{"cannot be reached"}},
		{"unknown", awsfake.Fault{Code: "SomethingNewException", Message: "new"}, fault.FunctionFailed, []string{"SomethingNewException"}},
		{"rubbish", awsfake.Fault{Forge: map[string]any{"Signature": []byte{1, 2, 3}}}, fault.FunctionFailed, []string{"no DER signature"}},
		{"another key's signature", awsfake.Fault{Forge: map[string]any{"Signature": []byte{0x30, 6, 2, 1, 1, 2, 1, 1}}}, fault.FunctionFailed, []string{"does not verify"}},
		{"another key's name", awsfake.Fault{Forge: map[string]any{"KeyId": "arn:aws:kms:x", "Signature": []byte{0x30, 6, 2, 1, 1, 2, 1, 1}}}, fault.FunctionFailed, []string{"instead of"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake, url := service(t)
			p := open(t, settings(url))
			signer, _ := key(t, p, uid)
			tc.inject.Operation, tc.inject.Times = "Sign", 1000
			fake.Inject(tc.inject)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := signer.Sign(ctx, ecdsa, digest)
			if !fault.Is(err, tc.kind) {
				t.Fatalf("kind %d, want %d: %v", fault.From(err).Kind, tc.kind, err)
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("the error came after %v, the deadline was a second", took)
			}
			if strings.Contains(err.Error(), awsfake.SecretKey) {
				t.Error("the error shows a secret")
			}
			fake.Heal()
			if tc.kind == fault.KeyHandleInvalid {
				return
			}
			if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

// TestPassing: what passes within the deadline is not noticed.
func TestPassing(t *testing.T) {
	for name, f := range map[string]awsfake.Fault{
		"throttled":   {Times: 3, Code: "ThrottlingException"},
		"5xx":         {Times: 2, Status: 503},
		"internal":    {Times: 2, Code: "KMSInternalException", Status: 500},
		"half closed": {Times: 2, HalfClosed: true},
		"slow":        {Times: 1, Delay: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			fake, url := service(t)
			signer, _ := key(t, open(t, settings(url)), uid)
			fake.Inject(f)
			if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHang: an attempt that hangs leaves time for another one.
func TestHang(t *testing.T) {
	fake, url := service(t)
	c := settings(url)
	c.AttemptTimeout = 300 * time.Millisecond
	p := open(t, c)
	signer, _ := key(t, p, uid)
	fake.Inject(awsfake.Fault{Operation: "Sign", Times: 1, Delay: time.Minute})
	if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
		t.Error(err)
	}
}

// TestClock: a clock that is ten minutes off is corrected by the SDK from the service's answer.
func TestClock(t *testing.T) {
	for _, skew := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		fake, url := service(t)
		fake.Skew(skew)
		signer, _ := key(t, open(t, settings(url)), uid)
		if _, err := signer.Sign(t.Context(), ecdsa, digest); err != nil {
			t.Errorf("%v: %v", skew, err)
		}
	}
}

// TestCredentials: what is wrong with them is said.
func TestCredentials(t *testing.T) {
	_, url := service(t)
	for name, tc := range map[string]struct {
		change func(*awskms.Config)
		says   string
	}{
		"an unknown access key": {func(c *awskms.Config) { c.AccessKeyID = "AKIAUNKNOWN" }, "access key"},
		"a wrong secret":        {func(c *awskms.Config) { c.SecretAccessKey = "wrong" }, "access key, its secret"},
		"an expired session":    {func(c *awskms.Config) { c.SessionToken = "expired" }, "have expired"},
		"another region":        {func(c *awskms.Config) { c.Region = "us-east-1" }, "region"},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(url)
			tc.change(&c)
			err := open(t, c).Health(t.Context())
			if !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY"} {
			t.Setenv(name, "")
		}
		t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		c := settings(url)
		c.AccessKeyID, c.SecretAccessKey = "", ""
		if err := open(t, c).Health(t.Context()); !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), "no AWS credentials") {
			t.Errorf("%v", err)
		}
		c.Region = ""
		t.Setenv("AWS_REGION", "")
		t.Setenv("AWS_DEFAULT_REGION", "")
		if _, err := awskms.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "region") {
			t.Errorf("no region: %v", err)
		}
	})
}

// TestUnreachable: nobody listens, or nobody answers.
func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(awsfake.New())
	url := server.URL
	server.Close()
	c := settings(url)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := open(t, c).Health(ctx); !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nobody listens: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c = settings("http://" + silent.Addr().String())
	late, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := open(t, c).Health(late); !fault.Is(err, fault.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
}

// TestOtherRegion: the key is where it was made.
func TestOtherRegion(t *testing.T) {
	_, url := service(t)
	_, ref := key(t, open(t, settings(url)), uid)
	c := settings(url)
	c.Region = "us-east-1"
	_, err := open(t, c).Key(t.Context(), ref)
	if !fault.Is(err, fault.KeyHandleInvalid) || !strings.Contains(err.Error(), "us-east-1") || !strings.Contains(err.Error(), awsfake.Region) {
		t.Errorf("%v", err)
	}
}
