package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/enrollment"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// createToken makes a token on the provider software, or another one, and returns its uid.
func createToken(t *testing.T, connection grpc.ClientConnInterface, label string, provider ...string) string {
	t.Helper()
	response, err := anyhsmv1.NewTokenAdminServiceClient(connection).CreateToken(within(t, 20*time.Second), &anyhsmv1.CreateTokenRequest{
		RequestId: requestID(), Label: label, Provider: strings.Join(provider, ""), SoPin: []byte("12345678"), UserPin: []byte("1234"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetToken().GetToken().GetUid()
}

func login(t *testing.T, connection grpc.ClientConnInterface, token string) []byte {
	t.Helper()
	response, err := anyhsmv1.NewTokenServiceClient(connection).Login(within(t, 20*time.Second), &anyhsmv1.LoginRequest{
		Header: &anyhsmv1.CallHeader{Token: token}, UserType: uint64(cryptoki.CKU_USER), Pin: []byte("1234"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetTicket()
}

// oidP256 is the curve's object identifier in DER.
var oidP256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

type key struct {
	id     uint64
	public *ecdsa.PublicKey
}

// generate makes a P-256 token key pair.
func generate(ctx context.Context, connection grpc.ClientConnInterface, token string, ticket []byte, request, label string) (key, error) {
	mechanism, err := wire.MechanismToProto(cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN})
	if err != nil {
		return key{}, err
	}
	response, err := anyhsmv1.NewObjectServiceClient(connection).GenerateKeyPair(ctx, &anyhsmv1.GenerateKeyPairRequest{
		Header:    &anyhsmv1.CallHeader{Token: token, Ticket: ticket, RequestId: request},
		Mechanism: mechanism,
		PublicTemplate: wire.AttributesToProto(cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, oidP256), cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, label),
		}),
		PrivateTemplate: wire.AttributesToProto(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, label)}),
	})
	if err != nil {
		return key{}, err
	}
	point := wire.AttributesFromProto(response.GetPublicKey().GetAttributes()).Bytes(cryptoki.CKA_EC_POINT)
	// A DER OCTET STRING: two bytes, then the point.
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[2:])
	if err != nil {
		return key{}, err
	}
	return key{id: response.GetPrivateKey().GetId(), public: public}, nil
}

// sign signs with a key and checks the signature with crypto/ecdsa.
func sign(ctx context.Context, connection grpc.ClientConnInterface, token string, ticket []byte, k key) error {
	digest := sha256.Sum256([]byte(requestID()))
	response, err := anyhsmv1.NewCryptoServiceClient(connection).Sign(ctx, &anyhsmv1.SignRequest{
		Header:    &anyhsmv1.CallHeader{Token: token, Ticket: ticket},
		Key:       &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Object{Object: k.id}},
		Mechanism: &anyhsmv1.Mechanism{Type: uint64(cryptoki.CKM_ECDSA)},
		Data:      digest[:],
	})
	if err != nil {
		return err
	}
	raw := response.GetSignature()
	r, s := new(big.Int).SetBytes(raw[:len(raw)/2]), new(big.Int).SetBytes(raw[len(raw)/2:])
	if !ecdsa.Verify(k.public, digest[:], r, s) {
		return fault.New(fault.SignatureInvalid, "the signature does not verify")
	}
	return nil
}

// listed returns how often each label occurs among a token's private keys.
func listed(t *testing.T, connection grpc.ClientConnInterface, token string, ticket []byte) map[string]int {
	t.Helper()
	labels, page := map[string]int{}, ""
	for {
		response, err := anyhsmv1.NewObjectServiceClient(connection).ListObjects(within(t, 20*time.Second), &anyhsmv1.ListObjectsRequest{
			Header: &anyhsmv1.CallHeader{Token: token, Ticket: ticket}, Page: page,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range response.GetObjects() {
			attributes := wire.AttributesFromProto(o.GetAttributes())
			if class, _ := attributes.Class(); class == cryptoki.CKO_PRIVATE_KEY {
				labels[string(attributes.Bytes(cryptoki.CKA_LABEL))]++
			}
		}
		if page = response.GetNextPage(); page == "" {
			return labels
		}
	}
}

func TestSpineOverRestarts(t *testing.T) {
	// Strict, so that not even kill -9 loses the record of a signature.
	p := newProcess(t, "[audit]\nstrict = true\n")
	p.start()
	connection := p.unix()
	token := createToken(t, connection, "tls")
	ticket := login(t, connection, token)
	k, err := generate(within(t, 20*time.Second), connection, token, ticket, requestID(), "web")
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if err := sign(within(t, 20*time.Second), connection, token, ticket, k); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if labels := listed(t, connection, token, ticket); len(labels) != 1 || labels["web"] != 1 {
			t.Fatalf("%s: the keys are %v", when, labels)
		}
	}
	check("at first")
	if code := p.kill(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.start()
	check("after a restart, with the ticket from before")
	p.kill(syscall.SIGKILL)
	p.start()
	check("after kill -9")

	report, err := anyhsmv1.NewAuditServiceClient(connection).VerifyChain(within(t, 20*time.Second), &anyhsmv1.VerifyChainRequest{})
	if err != nil || !report.GetIntact() {
		t.Errorf("audit = %v, %v", report, err)
	}
	log, err := anyhsmv1.NewAuditServiceClient(connection).ListEvents(within(t, 20*time.Second), &anyhsmv1.ListEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var signatures int
	for _, e := range log.GetEvents() {
		if e.GetMechanism() == "CKM_ECDSA" && e.GetOutcome() == "OK" {
			signatures++
		}
	}
	if signatures != 3 {
		t.Errorf("the audit has %d signatures, want 3: %v", signatures, log.GetEvents())
	}
	state, err := anyhsmv1.NewStatusServiceClient(connection).GetStatus(within(t, 20*time.Second), &anyhsmv1.GetStatusRequest{})
	if err != nil || state.GetTokens() != 1 || state.GetObjects() != 2 || len(state.GetProviders()) != 1 || !state.GetProviders()[0].GetHealthy() || len(state.GetListeners()) != 2 {
		t.Errorf("status = %v, %v", state, err)
	}
	if strings.Contains(p.log(), "12345678") {
		t.Error("the log has a PIN")
	}
}

// remote enrolls a new key with a code over TCP and returns a connection with its certificate.
func (p *process) remote(application string) *grpc.ClientConn {
	t := p.t
	t.Helper()
	made, err := anyhsmv1.NewApplicationServiceClient(p.unix()).CreateEnrollmentCode(within(t, 20*time.Second), &anyhsmv1.CreateEnrollmentCodeRequest{
		RequestId: requestID(), Application: application,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.GetEndpoints()) != 1 || made.GetEndpoints()[0] != "tcp://"+p.tcp {
		t.Errorf("endpoints = %v", made.GetEndpoints())
	}
	code, err := enrollment.Parse(made.GetCode())
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		t.Fatal(err)
	}
	applicant := dial(t, p.tcp, credentials.NewTLS(enrollment.TLSConfig(code, "127.0.0.1")))
	enrolled, err := anyhsmv1.NewEnrollmentServiceClient(applicant).Enroll(within(t, 20*time.Second), &anyhsmv1.EnrollRequest{
		Code: made.GetCode(), CertificateRequest: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	chain, _ := pem.Decode(enrolled.GetCertificateChain())
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(enrolled.GetCaCertificate())
	return dial(t, p.tcp, credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{chain.Bytes}, PrivateKey: private}},
	}))
}

func TestSpineOverMutualTLS(t *testing.T) {
	p := newProcess(t, "")
	p.start()
	local := p.unix()
	token := createToken(t, local, "tls")
	applications := anyhsmv1.NewApplicationServiceClient(local)
	if _, err := applications.AddApplication(within(t, 20*time.Second), &anyhsmv1.AddApplicationRequest{RequestId: requestID(), Name: "web"}); err != nil {
		t.Fatal(err)
	}
	remote := p.remote("web")
	slots := func() int {
		t.Helper()
		response, err := anyhsmv1.NewTokenServiceClient(remote).ListSlots(within(t, 20*time.Second), &anyhsmv1.ListSlotsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var tokens int
		for _, s := range response.GetSlots() {
			if s.GetToken().GetUid() != "" {
				tokens++
			}
		}
		return tokens
	}
	if n := slots(); n != 0 {
		t.Errorf("%d tokens without a grant", n)
	}
	grant := &anyhsmv1.Grant{Token: "tls", Operations: []string{"use", "create"}}
	if _, err := applications.GrantToken(within(t, 20*time.Second), &anyhsmv1.GrantTokenRequest{RequestId: requestID(), Application: "web", Grant: grant}); err != nil {
		t.Fatal(err)
	}
	if n := slots(); n != 1 {
		t.Errorf("%d tokens with a grant for one", n)
	}
	ticket := login(t, remote, token)
	k, err := generate(within(t, 20*time.Second), remote, token, ticket, requestID(), "remote")
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(within(t, 20*time.Second), remote, token, ticket, k); err != nil {
		t.Fatal(err)
	}
	// What was not granted is refused, with what to do.
	_, err = anyhsmv1.NewObjectServiceClient(remote).DestroyObject(within(t, 20*time.Second), &anyhsmv1.DestroyObjectRequest{
		Header: &anyhsmv1.CallHeader{Token: token, Ticket: ticket, RequestId: requestID()}, Object: k.id,
	})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "anyhsm app grant web tls --operations use,create,destroy") {
		t.Errorf("DestroyObject = %v", err)
	}
	// An application is no administrator.
	if _, err := anyhsmv1.NewStatusServiceClient(remote).GetStatus(within(t, 20*time.Second), &anyhsmv1.GetStatusRequest{}); !fault.Is(wire.ErrorFromStatus(err), fault.NotGranted) {
		t.Errorf("GetStatus = %v", err)
	}
	// A ticket belongs to the application that logged in.
	if err := sign(within(t, 20*time.Second), local, token, ticket, k); err == nil {
		t.Error("another caller can use the ticket")
	}
	p.kill(syscall.SIGKILL)
	p.start()
	if err := sign(within(t, 20*time.Second), remote, token, ticket, k); err != nil {
		t.Errorf("after kill -9: %v", err)
	}
	// SIGHUP gives new connections a new certificate; the one that is open stays.
	if err := p.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := sign(within(t, 20*time.Second), remote, token, ticket, k); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	if _, err := applications.RevokeGrant(within(t, 20*time.Second), &anyhsmv1.RevokeGrantRequest{RequestId: requestID(), Application: "web"}); err != nil {
		t.Fatal(err)
	}
	if err := sign(within(t, 20*time.Second), remote, token, ticket, k); !fault.Is(wire.ErrorFromStatus(err), fault.Unauthenticated) {
		t.Errorf("after the removal: %v", err)
	}
}

// softHSM makes a SoftHSM token for the daemon and returns its provider's configuration.
func softHSM(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tokens := filepath.Join(directory, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", file("softhsm2.conf", "directories.tokendir = "+tokens+"\nobjectstore.backend = file\n"))
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "anyhsm", "--so-pin", "87654321", "--pin", "4321").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util (Debian package softhsm2): %v\n%s", err, out)
	}
	return "[[provider]]\nname = \"softhsm\"\nkind = \"hsm\"\nlibrary = \"/usr/lib/softhsm/libsofthsm2.so\"\ntoken = \"anyhsm\"\n" +
		"pin = \"file:" + file("pin", "4321\n") + "\"\n"
}

// TestKillDuringLoad kills the daemon again and again while keys are made and used. Every request is repeated with its
// id until it is answered; in the end each was done exactly once.
func TestKillDuringLoad(t *testing.T) {
	t.Run("software", func(t *testing.T) { killDuringLoad(t, "software", "") })
	t.Run("softhsm", func(t *testing.T) { killDuringLoad(t, "softhsm", softHSM(t)) })
}

func killDuringLoad(t *testing.T, provider, configuration string) {
	const workers, each, kills = 4, 15, 4
	p := newProcess(t, configuration)
	p.start()
	connection := p.unix()
	token := createToken(t, connection, "load", provider)
	ticket := login(t, connection, token)
	ctx := within(t, 90*time.Second)
	var group sync.WaitGroup
	failures := make(chan error, workers*each)
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				label := string(rune('a'+worker)) + string(rune('a'+i))
				k, err := generate(ctx, connection, token, ticket, requestID(), label)
				if err == nil {
					err = sign(ctx, connection, token, ticket, k)
				}
				if err != nil {
					failures <- err
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for i := range kills {
		time.Sleep(time.Duration(40+37*i) * time.Millisecond)
		p.kill(syscall.SIGKILL)
		p.start()
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	labels := listed(t, connection, token, ticket)
	if len(labels) != workers*each {
		t.Errorf("%d keys, want %d", len(labels), workers*each)
	}
	for label, n := range labels {
		if n != 1 {
			t.Errorf("key %s was made %d times", label, n)
		}
	}
	if provider == "software" {
		return
	}
	// Nor does the HSM have keys that nobody knows of.
	held, page := 0, ""
	for {
		response, err := anyhsmv1.NewProviderServiceClient(connection).ListProviderKeys(ctx, &anyhsmv1.ListProviderKeysRequest{Provider: provider, Page: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range response.GetKeys() {
			held++
			if k.GetToken() != "load" {
				t.Errorf("the HSM has a key %s (%s) that no token has", k.GetReference(), k.GetLabel())
			}
		}
		if page = response.GetNextPage(); page == "" {
			break
		}
	}
	if held != workers*each {
		t.Errorf("the HSM has %d keys, want %d", held, workers*each)
	}
}
