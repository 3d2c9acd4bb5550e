package pkcs11_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/frontend/pkcs11"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/server"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// everybody is an administrator: policy is keyservice's test.
type everybody struct{}

func (everybody) Resolve(string) (string, bool) { return "", true }

// daemon serves the front end on a Unix socket, through the real interceptors.
type daemon struct {
	t       *testing.T
	ctx     context.Context
	tokens  anyhsmv1.TokenServiceClient
	objects anyhsmv1.ObjectServiceClient
	crypto  anyhsmv1.CryptoServiceClient
	header  *anyhsmv1.CallHeader
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := keystore.Open(t.Context(), filepath.Join(dir, "store"))
	must(err)
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	root, err := seal.NewRoot(key)
	must(err)
	store.Authenticate(root)
	keyring := seal.NewKeyring(root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := store.Token(ctx, uid)
		return token.SealedKey, err
	})
	soft, err := software.New(software.Config{Sealer: keyring})
	must(err)
	decisions := policy.New(nil, application.Loader(store))
	must(decisions.Refresh(t.Context()))
	uses := audit.NewLog(store, audit.Options{})
	keys, err := keyservice.New(keyservice.Config{
		Store: store, Keyring: keyring, Tickets: ticket.NewIssuer(root, 0), Policy: decisions, Audit: uses,
		Providers: map[string]provider.Provider{"software": soft}, Logger: slog.New(slog.DiscardHandler),
	})
	must(err)
	s := server.New(server.Options{Unix: filepath.Join(dir, "sock"), Directory: everybody{}, Logger: slog.New(slog.DiscardHandler)})
	pkcs11.Register(s, keys)
	must(s.Listen())
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving) }()
	connection, err := grpc.NewClient("unix://"+filepath.Join(dir, "sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	t.Cleanup(func() {
		connection.Close()
		stop()
		<-served
		uses.Close()
		store.Close()
	})
	return &daemon{
		t: t, ctx: metadata.AppendToOutgoingContext(t.Context(), wire.ProtocolHeader, wire.Protocol),
		tokens: anyhsmv1.NewTokenServiceClient(connection), objects: anyhsmv1.NewObjectServiceClient(connection),
		crypto: anyhsmv1.NewCryptoServiceClient(connection), header: &anyhsmv1.CallHeader{},
	}
}

func (d *daemon) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// next is the header of a new request.
func (d *daemon) next() *anyhsmv1.CallHeader {
	return &anyhsmv1.CallHeader{
		Token: d.header.GetToken(), Ticket: d.header.GetTicket(), ContextTicket: d.header.GetContextTicket(),
		RequestId: strings.ToLower(rand.Text()),
	}
}

// initialise makes a token on the free slot and logs the user in.
func (d *daemon) initialise() {
	d.t.Helper()
	slots, err := d.tokens.ListSlots(d.ctx, &anyhsmv1.ListSlotsRequest{ModuleVersion: "test"})
	d.ok(err)
	if len(slots.GetSlots()) != 1 || len(slots.GetMechanismTables()) != 1 || slots.GetDaemonVersion() == "" {
		d.t.Fatalf("%v", slots)
	}
	made, err := d.tokens.InitToken(d.ctx, &anyhsmv1.InitTokenRequest{
		RequestId: "init", SlotId: slots.GetSlots()[0].GetId(), SoPin: []byte("so-pin"), Label: "token",
	})
	d.ok(err)
	d.header.Token = made.GetSlot().GetToken().GetUid()
	login, err := d.tokens.Login(d.ctx, &anyhsmv1.LoginRequest{Header: d.next(), UserType: uint64(cryptoki.CKU_SO), Pin: []byte("so-pin")})
	d.ok(err)
	d.header.Ticket = login.GetTicket()
	_, err = d.tokens.InitPin(d.ctx, &anyhsmv1.InitPinRequest{Header: d.next(), Pin: []byte("first-pin")})
	d.ok(err)
	d.header.Ticket = nil
	_, err = d.tokens.SetPin(d.ctx, &anyhsmv1.SetPinRequest{Header: d.next(), OldPin: []byte("first-pin"), NewPin: []byte("user-pin")})
	d.ok(err)
	login, err = d.tokens.Login(d.ctx, &anyhsmv1.LoginRequest{Header: d.next(), UserType: uint64(cryptoki.CKU_USER), Pin: []byte("user-pin")})
	d.ok(err)
	d.header.Ticket = login.GetTicket()
	if login.GetLifetimeSeconds() != 12*60*60 || login.GetToken().GetFlags()&uint64(cryptoki.CKF_USER_PIN_INITIALIZED) == 0 {
		d.t.Errorf("%v", login)
	}
	renewed, err := d.tokens.RenewTicket(d.ctx, &anyhsmv1.RenewTicketRequest{Header: d.next()})
	d.ok(err)
	d.header.Ticket = renewed.GetTicket()
}

func template(attributes ...cryptoki.Attribute) []*anyhsmv1.Attribute {
	return wire.AttributesToProto(attributes)
}

func mechanism(t *testing.T, m cryptoki.Mechanism) *anyhsmv1.Mechanism {
	t.Helper()
	message, err := wire.MechanismToProto(m)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func object(id uint64) *anyhsmv1.KeyReference {
	return &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Object{Object: id}}
}

func sealed(blob []byte) *anyhsmv1.KeyReference {
	return &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Sealed{Sealed: blob}}
}

func TestEveryCall(t *testing.T) {
	d := newDaemon(t)
	d.initialise()
	p256, _ := curve.ByName("P-256")
	onToken := cryptoki.Bool(cryptoki.CKA_TOKEN, true)

	pair, err := d.objects.GenerateKeyPair(d.ctx, &anyhsmv1.GenerateKeyPairRequest{
		Header: d.next(), Mechanism: mechanism(t, cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN}),
		PublicTemplate: template(onToken, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params)), PrivateTemplate: template(onToken),
	})
	d.ok(err)
	digest := bytes.Repeat([]byte{1}, 32)
	ecdsa := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	signed, err := d.crypto.Sign(d.ctx, &anyhsmv1.SignRequest{
		Header: d.next(), Key: object(pair.GetPrivateKey().GetId()), Mechanism: mechanism(t, ecdsa), Data: digest,
	})
	d.ok(err)
	public, err := softkey.FromAttributes(wire.AttributesFromProto(pair.GetPublicKey().GetAttributes()))
	d.ok(err)
	d.ok(public.Verify(ecdsa, digest, signed.GetSignature()))
	if signed.GetHeader().GetRevision() != pair.GetHeader().GetRevision() {
		t.Error("a signature changed the revision")
	}

	key, err := d.objects.GenerateKey(d.ctx, &anyhsmv1.GenerateKeyRequest{
		Header: d.next(), Mechanism: mechanism(t, cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}),
		Template: template(cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(16)), cryptoki.Bool(cryptoki.CKA_SENSITIVE, false),
			cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)),
	})
	d.ok(err)
	session := sealed(key.GetKey().GetSealed())
	value, err := d.objects.GetSecretValue(d.ctx, &anyhsmv1.GetSecretValueRequest{Header: d.next(), Key: session})
	d.ok(err)
	if len(key.GetKey().GetSecret()) != 1 || !bytes.Equal(value.GetAttributes()[0].GetValue(), key.GetKey().GetSecret()[0].GetValue()) {
		t.Error("the session key's value differs")
	}
	cbc := mechanism(t, cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: make([]byte, 16)}})
	encrypted, err := d.crypto.Encrypt(d.ctx, &anyhsmv1.EncryptRequest{Header: d.next(), Key: session, Mechanism: cbc, Data: []byte("text")})
	d.ok(err)
	decrypted, err := d.crypto.Decrypt(d.ctx, &anyhsmv1.DecryptRequest{Header: d.next(), Key: session, Mechanism: cbc, Data: encrypted.GetData()})
	d.ok(err)
	if string(decrypted.GetData()) != "text" {
		t.Errorf("decrypted %q", decrypted.GetData())
	}
	inner, err := d.crypto.Encrypt(d.ctx, &anyhsmv1.EncryptRequest{Header: d.next(), Key: session, Mechanism: cbc, Data: make([]byte, 16), More: true})
	d.ok(err)
	if len(inner.GetData()) != 16 {
		t.Errorf("a part became %d bytes", len(inner.GetData()))
	}

	copied, err := d.objects.CopyObject(d.ctx, &anyhsmv1.CopyObjectRequest{Header: d.next(), Source: session, Template: template(onToken)})
	d.ok(err)
	hmac := mechanism(t, cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC})
	secret, err := d.objects.CreateObject(d.ctx, &anyhsmv1.CreateObjectRequest{Header: d.next(), Template: template(
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
		onToken, cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Repeat([]byte{9}, 32)))})
	d.ok(err)
	mac, err := d.crypto.Sign(d.ctx, &anyhsmv1.SignRequest{Header: d.next(), Key: object(secret.GetObject().GetId()), Mechanism: hmac, Data: digest})
	d.ok(err)
	_, err = d.crypto.Verify(d.ctx, &anyhsmv1.VerifyRequest{
		Header: d.next(), Key: object(secret.GetObject().GetId()), Mechanism: hmac, Data: digest, Signature: mac.GetSignature(),
	})
	d.ok(err)
	derived, err := d.objects.DeriveKey(d.ctx, &anyhsmv1.DeriveKeyRequest{
		Header: d.next(), BaseKey: object(pair.GetPrivateKey().GetId()),
		Mechanism: mechanism(t, cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{
			KDF: cryptoki.CKD_NULL, PublicData: wire.AttributesFromProto(pair.GetPublicKey().GetAttributes()).Bytes(cryptoki.CKA_EC_POINT),
		}}),
		Template: template(cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET)),
	})
	d.ok(err)
	if len(derived.GetKey().GetSealed()) == 0 {
		t.Error("the derived key is not sealed")
	}

	changed, err := d.objects.SetAttributes(d.ctx, &anyhsmv1.SetAttributesRequest{
		Header: d.next(), Object: object(copied.GetObject().GetId()), Template: template(cryptoki.String(cryptoki.CKA_LABEL, "copy")),
	})
	d.ok(err)
	_, err = d.objects.DestroyObject(d.ctx, &anyhsmv1.DestroyObjectRequest{Header: d.next(), Object: secret.GetObject().GetId()})
	d.ok(err)
	list, err := d.objects.ListObjects(d.ctx, &anyhsmv1.ListObjectsRequest{Header: d.next()})
	d.ok(err)
	if len(list.GetObjects()) != 3 || !list.GetComplete() {
		t.Errorf("%d objects", len(list.GetObjects()))
	}
	delta, err := d.objects.ListObjects(d.ctx, &anyhsmv1.ListObjectsRequest{Header: d.next(), SinceRevision: changed.GetHeader().GetRevision()})
	d.ok(err)
	if len(delta.GetObjects()) != 0 || len(delta.GetRemoved()) != 1 || delta.GetRemoved()[0] != secret.GetObject().GetId() {
		t.Errorf("%v", delta)
	}

	random, err := d.crypto.GenerateRandom(d.ctx, &anyhsmv1.GenerateRandomRequest{Header: d.next(), Length: 24})
	d.ok(err)
	if len(random.GetData()) != 24 {
		t.Errorf("%d random bytes", len(random.GetData()))
	}
	_, err = d.crypto.SeedRandom(d.ctx, &anyhsmv1.SeedRandomRequest{Header: d.next(), Seed: []byte("seed")})
	d.ok(err)
}

// TestEmptyRequests sends every call without anything in it: each is refused with a fault, none crashes.
func TestEmptyRequests(t *testing.T) {
	d := newDaemon(t)
	d.initialise()
	for name, c := range map[string]struct {
		do   func() error
		want cryptoki.RV
	}{
		"InitToken": {func() error { _, err := d.tokens.InitToken(d.ctx, &anyhsmv1.InitTokenRequest{}); return err }, cryptoki.CKR_SLOT_ID_INVALID},
		"InitPin":   {func() error { _, err := d.tokens.InitPin(d.ctx, &anyhsmv1.InitPinRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT},
		"SetPin":    {func() error { _, err := d.tokens.SetPin(d.ctx, &anyhsmv1.SetPinRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT},
		"Login":     {func() error { _, err := d.tokens.Login(d.ctx, &anyhsmv1.LoginRequest{UserType: 1}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT},
		"RenewTicket": {
			func() error { _, err := d.tokens.RenewTicket(d.ctx, &anyhsmv1.RenewTicketRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT,
		},
		"ListObjects": {
			func() error { _, err := d.objects.ListObjects(d.ctx, &anyhsmv1.ListObjectsRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT,
		},
		"GetSecretValue": {
			func() error {
				_, err := d.objects.GetSecretValue(d.ctx, &anyhsmv1.GetSecretValueRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_KEY_HANDLE_INVALID,
		},
		"CreateObject": {
			func() error {
				_, err := d.objects.CreateObject(d.ctx, &anyhsmv1.CreateObjectRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_TEMPLATE_INCOMPLETE,
		},
		"CopyObject": {
			func() error {
				_, err := d.objects.CopyObject(d.ctx, &anyhsmv1.CopyObjectRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_OBJECT_HANDLE_INVALID,
		},
		"SetAttributes": {
			func() error {
				_, err := d.objects.SetAttributes(d.ctx, &anyhsmv1.SetAttributesRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_OBJECT_HANDLE_INVALID,
		},
		"DestroyObject": {
			func() error {
				_, err := d.objects.DestroyObject(d.ctx, &anyhsmv1.DestroyObjectRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_OBJECT_HANDLE_INVALID,
		},
		"GenerateKey": {
			func() error {
				_, err := d.objects.GenerateKey(d.ctx, &anyhsmv1.GenerateKeyRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_MECHANISM_INVALID,
		},
		"GenerateKeyPair": {
			func() error {
				_, err := d.objects.GenerateKeyPair(d.ctx, &anyhsmv1.GenerateKeyPairRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_MECHANISM_INVALID,
		},
		"DeriveKey": {
			func() error {
				_, err := d.objects.DeriveKey(d.ctx, &anyhsmv1.DeriveKeyRequest{Header: d.next()})
				return err
			},
			cryptoki.CKR_MECHANISM_INVALID,
		},
		"Sign":   {func() error { _, err := d.crypto.Sign(d.ctx, &anyhsmv1.SignRequest{Header: d.next()}); return err }, cryptoki.CKR_MECHANISM_INVALID},
		"Verify": {func() error { _, err := d.crypto.Verify(d.ctx, &anyhsmv1.VerifyRequest{Header: d.next()}); return err }, cryptoki.CKR_MECHANISM_INVALID},
		"Encrypt": {func() error {
			_, err := d.crypto.Encrypt(d.ctx, &anyhsmv1.EncryptRequest{Header: d.next()})
			return err
		}, cryptoki.CKR_MECHANISM_INVALID},
		"Decrypt": {func() error {
			_, err := d.crypto.Decrypt(d.ctx, &anyhsmv1.DecryptRequest{Header: d.next()})
			return err
		}, cryptoki.CKR_MECHANISM_INVALID},
		"GenerateRandom": {
			func() error { _, err := d.crypto.GenerateRandom(d.ctx, &anyhsmv1.GenerateRandomRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT,
		},
		"SeedRandom": {
			func() error { _, err := d.crypto.SeedRandom(d.ctx, &anyhsmv1.SeedRandomRequest{}); return err }, cryptoki.CKR_TOKEN_NOT_PRESENT,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := wire.ErrorFromStatus(c.do())
			if got := fault.RV(err); got != c.want {
				t.Errorf("got %v (%v), want %v", got, err, c.want)
			}
		})
	}
}
