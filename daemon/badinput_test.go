package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// impatient is a connection that does not repeat what fails.
func (p *process) impatient() *grpc.ClientConn {
	connection, err := grpc.NewClient("unix://"+p.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, response any, c *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			return invoke(metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol), method, request, response, c, options...)
		}))
	check(p.t, err)
	p.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// TestBadCloud: whatever a cloud does to a key in use, the application gets a code that fits and the administrator a
// sentence that says who refuses what; nothing is made twice, and all works again when the cause is gone.
func TestBadCloud(t *testing.T) {
	p, fake := amazon(t, "")
	daemon := p.impatient()
	token := createToken(t, daemon, "web", "aws")
	ticket := login(t, daemon, token)
	k, err := generate(within(t, time.Minute), daemon, token, ticket, requestID(), "k")
	check(t, err)
	works := func() {
		t.Helper()
		check(t, sign(within(t, time.Minute), daemon, token, ticket, k))
	}
	works()
	const many = 1000
	for _, test := range []struct {
		name  string
		fault awsfake.Fault
		rv    cryptoki.RV
		says  []string
	}{
		{
			"a missing permission",
			awsfake.Fault{Operation: "Sign", Code: "AccessDeniedException", Message: "not authorized to perform: kms:Sign"},
			cryptoki.CKR_FUNCTION_FAILED,
			[]string{"AWS KMS", "kms:Sign"},
		},
		{
			"wrong credentials",
			awsfake.Fault{Code: "UnrecognizedClientException", Message: "The security token included in the request is invalid."},
			cryptoki.CKR_DEVICE_ERROR,
			[]string{"AWS KMS", "credentials"},
		},
		{
			"expired credentials",
			awsfake.Fault{Code: "ExpiredTokenException", Message: "The security token included in the request is expired"},
			cryptoki.CKR_DEVICE_ERROR,
			[]string{"AWS KMS", "expired"},
		},
		{
			"a disabled key",
			awsfake.Fault{Operation: "Sign", Code: "DisabledException", Message: "the key is disabled."},
			cryptoki.CKR_FUNCTION_FAILED,
			[]string{"disabled"},
		},
	} {
		test.fault.Times = many
		fake.Inject(test.fault)
		err := wire.ErrorFromStatus(sign(within(t, 20*time.Second), daemon, token, ticket, k))
		fake.Heal()
		if fault.RV(err) != test.rv {
			t.Errorf("%s: want %v: %v: %v", test.name, test.rv, fault.RV(err), err)
		}
		for _, word := range test.says {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error does not say %q: %v", test.name, word, err)
			}
		}
		works()
	}

	// A clock that is ten minutes off is worked around.
	fake.Skew(10 * time.Minute)
	works()
	fake.Skew(0)
	works()

	// An answer that is lost makes no second key, whoever asks again.
	living := fake.Living()
	request := requestID()
	fake.Inject(awsfake.Fault{Operation: "CreateKey", Times: 1, Lost: true})
	for range 2 {
		_, err := generate(within(t, time.Minute), daemon, token, ticket, request, "once")
		check(t, err)
	}
	if n := fake.Living(); n != living+1 {
		t.Errorf("%d keys were made, not 1", n-living)
	}

	// A key that is about to go, and one that has gone: the object stays until somebody deletes it.
	doomed := fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
	fake.Name("doomed", doomed)
	client := anyhsmv1.NewSyncServiceClient(daemon)
	comparison(t, client, token, "doomed")
	var adopted key
	objects, err := anyhsmv1.NewKeyAdminServiceClient(daemon).GetKey(within(t, time.Minute), &anyhsmv1.GetKeyRequest{Selector: &anyhsmv1.KeySelector{Token: token, Key: "doomed"}})
	check(t, err)
	for _, o := range objects.GetObjects() {
		if o.GetObjectClass() == uint64(cryptoki.CKO_PRIVATE_KEY) {
			adopted.id = o.GetId()
		}
	}
	// Another key's signature: the answer of k's key to somebody else.
	fake.Inject(awsfake.Fault{Operation: "Sign", Times: 1, Forge: map[string]any{
		"KeyId": fake.ARN(doomed), "SigningAlgorithm": "ECDSA_SHA_256",
		"Signature": []byte{0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01},
	}})
	err = wire.ErrorFromStatus(sign(within(t, time.Minute), daemon, token, ticket, adopted))
	if fault.RV(err) != cryptoki.CKR_FUNCTION_FAILED || !strings.Contains(err.Error(), "aws") {
		t.Errorf("another key's signature: %v", err)
	}
	fake.Heal()
	fake.Schedule(doomed)
	err = wire.ErrorFromStatus(sign(within(t, time.Minute), daemon, token, ticket, adopted))
	if fault.RV(err) != cryptoki.CKR_KEY_HANDLE_INVALID || !strings.Contains(err.Error(), "scheduled for deletion; rescue it") {
		t.Errorf("a key pending deletion: %v: %v", fault.RV(err), err)
	}
	fake.Remove(doomed)
	err = wire.ErrorFromStatus(sign(within(t, time.Minute), daemon, token, ticket, adopted))
	if fault.RV(err) != cryptoki.CKR_KEY_HANDLE_INVALID {
		t.Errorf("a deleted key: want CKR_KEY_HANDLE_INVALID: %v: %v", fault.RV(err), err)
	}
	if labels := listed(t, daemon, token, ticket); labels["doomed"] != 1 {
		t.Errorf("the object of the deleted key is gone: %v", labels)
	}

	// A region that does not answer: the call ends with its deadline and says who did not answer.
	fake.Inject(awsfake.Fault{Operation: "Sign", Times: many, Delay: time.Minute})
	began := time.Now()
	err = wire.ErrorFromStatus(sign(within(t, 3*time.Second), daemon, token, ticket, k))
	if fault.RV(err) != cryptoki.CKR_DEVICE_ERROR || time.Since(began) > 15*time.Second {
		t.Errorf("a region that does not answer: after %v: %v", time.Since(began), err)
	}
	fake.Heal()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err := sign(within(t, 20*time.Second), daemon, token, ticket, k); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the region is back: %v", err)
		}
	}
}
