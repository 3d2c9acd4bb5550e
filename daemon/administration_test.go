package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// must returns the answer of a call that may not fail.
func must[T any](t *testing.T) func(T, error) T {
	return func(answer T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// TestAdministration goes through the calls of an administrator's day on both providers.
func TestAdministration(t *testing.T) {
	p := newProcess(t, softHSM(t))
	p.start()
	for _, provider := range []string{"software", "softhsm"} {
		t.Run(provider, func(t *testing.T) { administer(t, p, provider) })
	}
	connection := p.unix()
	events := anyhsmv1.NewAuditServiceClient(connection)
	ctx := within(t, 60*time.Second)
	newest := must[*anyhsmv1.ListEventsResponse](t)(events.ListEvents(ctx, &anyhsmv1.ListEventsRequest{Newest: true, Limit: 1})).GetEvents()
	if len(newest) != 1 {
		t.Fatalf("the newest event: %v", newest)
	}
	// A call that waits gets the next event when it comes. What was refused before may come first: it is written within
	// milliseconds of the answer, not before it.
	waiting := make(chan []*anyhsmv1.AuditEvent, 1)
	go func() {
		after := newest[0].GetSequence()
		for {
			response, err := events.ListEvents(ctx, &anyhsmv1.ListEventsRequest{After: after, WaitSeconds: 20})
			found := response.GetEvents()
			if err != nil || len(found) == 0 || found[len(found)-1].GetOperation() == "token.create" {
				waiting <- found[max(0, len(found)-1):]
				return
			}
			after = found[len(found)-1].GetSequence()
		}
	}()
	time.Sleep(50 * time.Millisecond)
	createToken(t, connection, "late")
	if next := <-waiting; len(next) != 1 || next[0].GetOperation() != "token.create" || next[0].GetDetail() != "late" || next[0].GetIdentity() == "" {
		t.Errorf("the next event: %v", next)
	}
	// One that waits does not keep the daemon from ending.
	last := must[*anyhsmv1.ListEventsResponse](t)(events.ListEvents(ctx, &anyhsmv1.ListEventsRequest{Newest: true, Limit: 1})).GetEvents()
	go func() {
		response, _ := events.ListEvents(ctx, &anyhsmv1.ListEventsRequest{After: last[0].GetSequence(), WaitSeconds: 30})
		waiting <- response.GetEvents()
	}()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	if code := p.kill(syscall.SIGTERM); code != 0 || time.Since(start) > 5*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(start))
	}
	if next := <-waiting; len(next) != 0 {
		t.Errorf("events out of nothing: %v", next)
	}
	p.start()
	if report := must[*anyhsmv1.VerifyChainResponse](t)(events.VerifyChain(ctx, &anyhsmv1.VerifyChainRequest{})); !report.GetIntact() {
		t.Errorf("the audit is not intact: %v", report)
	}
}

func administer(t *testing.T, p *process, provider string) {
	connection, ctx, label := p.unix(), within(t, 60*time.Second), "day-"+provider
	tokens, keys := anyhsmv1.NewTokenAdminServiceClient(connection), anyhsmv1.NewKeyAdminServiceClient(connection)
	uid := createToken(t, connection, label, provider)
	if _, err := tokens.CreateToken(ctx, &anyhsmv1.CreateTokenRequest{RequestId: requestID(), Label: label, UserPin: []byte("1234")}); err == nil {
		t.Error("two tokens have one label")
	}
	got := must[*anyhsmv1.GetTokenResponse](t)(tokens.GetToken(ctx, &anyhsmv1.GetTokenRequest{Token: label})).GetToken()
	if got.GetToken().GetUid() != uid || got.GetProvider() != provider || !got.GetLoginRequired() || got.GetCreated() == nil {
		t.Errorf("token: %v", got)
	}

	made := must[*anyhsmv1.CreateKeyResponse](t)(keys.CreateKey(ctx, &anyhsmv1.CreateKeyRequest{
		RequestId: requestID(), Token: label, KeySpec: "ec:p256", Label: "tls",
	})).GetKey()
	if made.GetProvider() != provider || made.GetCurve() != "P-256" || made.GetBits() != 256 || made.GetExtractable() || !slices.Contains(made.GetUsage(), "sign") {
		t.Errorf("key: %v", made)
	}
	public, err := x509.ParsePKIXPublicKey(made.GetPublicKey())
	if err != nil {
		t.Fatal(err)
	}

	// An own key signs a certificate for it, which goes in beside it.
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hsm.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, issuer)
	if err != nil {
		t.Fatal(err)
	}
	certificate := must[*anyhsmv1.ImportCertificateResponse](t)(keys.ImportCertificate(ctx, &anyhsmv1.ImportCertificateRequest{
		RequestId: requestID(), Token: label, Certificate: der, Label: "tls",
	})).GetCertificate()
	if string(certificate.GetKeyId()) != string(made.GetKeyId()) || certificate.GetSubject() != "CN=hsm.example" {
		t.Errorf("certificate: %v", certificate)
	}

	pkcs8, err := x509.MarshalPKCS8PrivateKey(issuer)
	if err != nil {
		t.Fatal(err)
	}
	imported := must[*anyhsmv1.ImportKeyResponse](t)(keys.ImportKey(ctx, &anyhsmv1.ImportKeyRequest{
		RequestId: requestID(), Token: label, Key: &anyhsmv1.ImportKeyRequest_Pkcs8{Pkcs8: pkcs8}, Label: "issuer",
	})).GetKey()
	if spki, err := x509.MarshalPKIXPublicKey(issuer.Public()); err != nil || string(imported.GetPublicKey()) != string(spki) {
		t.Errorf("imported key: %v, %v", imported, err)
	}

	private := uint64(cryptoki.CKO_PRIVATE_KEY) + 1
	listed := must[*anyhsmv1.ListKeysResponse](t)(keys.ListKeys(ctx, &anyhsmv1.ListKeysRequest{Token: label, ObjectClassPlusOne: private})).GetKeys()
	if len(listed) != 2 {
		t.Errorf("private keys: %v", listed)
	}
	selector := &anyhsmv1.KeySelector{Token: label, Key: "tls"}
	shown := must[*anyhsmv1.GetKeyResponse](t)(keys.GetKey(ctx, &anyhsmv1.GetKeyRequest{Selector: selector})).GetObjects()
	if len(shown) != 3 {
		t.Errorf("the key, its public half and its certificate: %v", shown)
	}
	for _, o := range shown {
		if attributes := wire.AttributesFromProto(o.GetAttributes()); o.GetObjectClass() == private-1 && (attributes.Has(cryptoki.CKA_VALUE) || !attributes.Bool(cryptoki.CKA_SENSITIVE)) {
			t.Errorf("the private key shows too much: %v", attributes)
		}
	}
	renamed := must[*anyhsmv1.LabelKeyResponse](t)(keys.LabelKey(ctx, &anyhsmv1.LabelKeyRequest{RequestId: requestID(), Selector: selector, Label: "web"})).GetObjects()
	if len(renamed) == 0 || renamed[0].GetLabel() != "web" {
		t.Errorf("renamed: %v", renamed)
	}

	view := must[*anyhsmv1.ExplainViewResponse](t)(anyhsmv1.NewApplicationServiceClient(connection).ExplainView(ctx, &anyhsmv1.ExplainViewRequest{Application: "uid:4294967294"}))
	if len(view.GetVisible()) != 0 || len(view.GetHidden()) == 0 || view.GetHidden()[0].GetReason() == "" {
		t.Errorf("a stranger's view: %v", view)
	}

	providers := anyhsmv1.NewProviderServiceClient(connection)
	for _, r := range must[*anyhsmv1.CheckProviderResponse](t)(providers.CheckProvider(ctx, &anyhsmv1.CheckProviderRequest{Provider: provider})).GetResults() {
		if !r.GetPassed() {
			t.Errorf("check %s: %s", r.GetName(), r.GetDetail())
		}
	}
	if _, err := providers.CheckProvider(ctx, &anyhsmv1.CheckProviderRequest{Provider: "none"}); !fault.Is(wire.ErrorFromStatus(err), fault.NotFound) {
		t.Errorf("a provider that is not there: %v", err)
	}

	if _, err := tokens.DeleteToken(ctx, &anyhsmv1.DeleteTokenRequest{RequestId: requestID(), Token: label}); err == nil {
		t.Error("a token went with its objects, unforced")
	}
	selector.Key = "web"
	if gone := must[*anyhsmv1.DeleteKeyResponse](t)(keys.DeleteKey(ctx, &anyhsmv1.DeleteKeyRequest{RequestId: requestID(), Selector: selector})).GetObjects(); len(gone) < 2 {
		t.Errorf("destroyed: %v", gone)
	}
	// The certificate of the same name stays.
	for _, o := range must[*anyhsmv1.GetKeyResponse](t)(keys.GetKey(ctx, &anyhsmv1.GetKeyRequest{Selector: selector})).GetObjects() {
		if o.GetObjectClass() != uint64(cryptoki.CKO_CERTIFICATE) {
			t.Errorf("a destroyed key is still there: %v", o)
		}
	}
	forced := must[*anyhsmv1.DeleteTokenResponse](t)(tokens.DeleteToken(ctx, &anyhsmv1.DeleteTokenRequest{RequestId: requestID(), Token: label, Force: true}))
	if forced.GetObjectsDestroyed() < 2 {
		t.Errorf("objects destroyed with the token: %d", forced.GetObjectsDestroyed())
	}
	if _, err := tokens.GetToken(ctx, &anyhsmv1.GetTokenRequest{Token: label}); !fault.Is(wire.ErrorFromStatus(err), fault.NotFound) {
		t.Errorf("a deleted token: %v", err)
	}
	if provider == "software" {
		return
	}
	// Nothing is left in the HSM.
	left := must[*anyhsmv1.ListProviderKeysResponse](t)(providers.ListProviderKeys(ctx, &anyhsmv1.ListProviderKeysRequest{Provider: provider})).GetKeys()
	if len(left) != 0 {
		t.Errorf("left in the HSM: %v", left)
	}
}

// TestLockedPIN locks a token by wrong PINs, over a restart, and unlocks it.
func TestLockedPIN(t *testing.T) {
	p := newProcess(t, "[login]\nmax_failed = 3\n")
	p.start()
	connection, ctx := p.unix(), within(t, 60*time.Second)
	token := createToken(t, connection, "tls")
	try := func(pin string) error {
		_, err := anyhsmv1.NewTokenServiceClient(connection).Login(ctx, &anyhsmv1.LoginRequest{
			Header: &anyhsmv1.CallHeader{Token: token}, UserType: uint64(cryptoki.CKU_USER), Pin: []byte(pin),
		})
		return wire.ErrorFromStatus(err)
	}
	for i := range 3 {
		if err := try("9999"); !fault.Is(err, fault.PINIncorrect) && !(i == 2 && fault.Is(err, fault.PINLocked)) {
			t.Errorf("try %d: %v", i+1, err)
		}
		if i == 1 {
			p.kill(9)
			p.start()
		}
	}
	if err := try("1234"); !fault.Is(err, fault.PINLocked) {
		t.Errorf("the right PIN on a locked token: %v", err)
	}
	if _, err := anyhsmv1.NewTokenAdminServiceClient(connection).UnlockToken(ctx, &anyhsmv1.UnlockTokenRequest{RequestId: requestID(), Token: "tls"}); err != nil {
		t.Fatal(err)
	}
	if err := try("1234"); err != nil {
		t.Errorf("after unlocking: %v", err)
	}
}
