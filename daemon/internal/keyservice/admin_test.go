package keyservice_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// as is an administrator's call with a fresh request id; the token is named by its label.
func (f *fixture) as(token string) keyservice.Call { return f.public(f.admin, token) }

func TestOnlyAdministratorsAdminister(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	calls := map[string]func() error{
		"CreateToken": func() error { _, err := f.CreateToken(f.ctx, call, keyservice.NewToken{Label: "x"}); return err },
		"ListTokens":  func() error { _, err := f.ListTokens(f.ctx, call); return err },
		"GetToken":    func() error { _, err := f.GetToken(f.ctx, call); return err },
		"DeleteToken": func() error { _, err := f.DeleteToken(f.ctx, call, true, false); return err },
		"UnlockToken": func() error { _, err := f.UnlockToken(f.ctx, call, []byte("1234")); return err },
		"CreateKey":   func() error { _, err := f.CreateKey(f.ctx, call, keyservice.NewKey{Spec: "ec:p256"}); return err },
		"ImportKey":   func() error { _, err := f.ImportKey(f.ctx, call, keyservice.KeyImport{}); return err },
		"AdoptKeys":   func() error { _, _, err := f.AdoptKeys(f.ctx, call, keyservice.Adoption{All: true}); return err },
		"ListKeys":    func() error { _, _, err := f.ListKeys(f.ctx, call, nil, ""); return err },
		"GetKey":      func() error { _, err := f.GetKey(f.ctx, call, "x"); return err },
		"LabelKey":    func() error { _, err := f.LabelKey(f.ctx, call, "x", "y", nil); return err },
		"DeleteKey":   func() error { _, err := f.DeleteKey(f.ctx, call, "x", false); return err },
		"ImportCertificate": func() error {
			_, err := f.ImportCertificate(f.ctx, call, keyservice.CertificateImport{})
			return err
		},
		"ExplainView":      func() error { _, err := f.ExplainView(f.ctx, call, ""); return err },
		"ListProviders":    func() error { _, err := f.ListProviders(f.ctx, call); return err },
		"CheckProvider":    func() error { _, err := f.CheckProvider(f.ctx, call, "software"); return err },
		"ListProviderKeys": func() error { _, _, err := f.ListProviderKeys(f.ctx, call, "vault", ""); return err },
	}
	for name, do := range calls {
		if err := do(); !fault.Is(err, fault.NotGranted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenAdministration(t *testing.T) {
	f := newFixture(t)
	call := f.as("")
	made, err := f.CreateToken(f.ctx, call, keyservice.NewToken{Label: "t", Provider: "vault", UserPIN: []byte(userPIN)})
	ok(t, err)
	same, err := f.CreateToken(f.ctx, call, keyservice.NewToken{Label: "t", Provider: "vault", UserPIN: []byte(userPIN)})
	ok(t, err)
	if made.Token.UID != same.Token.UID || made.Provider != "vault" || made.Token.Flags&cryptoki.CKF_USER_PIN_INITIALIZED == 0 {
		t.Errorf("%+v, then %+v", made, same)
	}
	for name, c := range map[string]struct {
		token keyservice.NewToken
		want  fault.Kind
	}{
		"same label":   {keyservice.NewToken{Label: "t"}, fault.AlreadyExists},
		"no label":     {keyservice.NewToken{Label: "  "}, fault.InvalidInput},
		"long label":   {keyservice.NewToken{Label: strings.Repeat("x", 33)}, fault.ArgumentsBad},
		"short PIN":    {keyservice.NewToken{Label: "u", UserPIN: []byte("1")}, fault.PINLenRange},
		"no provider":  {keyservice.NewToken{Label: "u", Provider: "cloud"}, fault.NotFound},
		"invalid text": {keyservice.NewToken{Label: "\xff"}, fault.ArgumentsBad},
	} {
		if _, err := f.CreateToken(f.ctx, f.as(""), c.token); !fault.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "ec:p256", Label: "k"})
	ok(t, err)
	if key.Provider != "vault" {
		t.Errorf("the key is in %q", key.Provider)
	}
	list, err := f.ListTokens(f.ctx, f.as(""))
	ok(t, err)
	if len(list) != 1 || list[0].Objects != 2 || !list[0].LoginRequired {
		t.Errorf("%+v", list)
	}
	_, err = f.DeleteToken(f.ctx, f.as("t"), false, false)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("a token with objects: %v", err)
	}
	call = f.as("t")
	for range 2 {
		n, err := f.DeleteToken(f.ctx, call, true, false)
		ok(t, err)
		if n.Objects != 2 || f.vault.size() != 0 {
			t.Errorf("%d objects went, %d keys are left", n.Objects, f.vault.size())
		}
	}
	_, err = f.GetToken(f.ctx, f.as("t"))
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("a deleted token: %v", err)
	}
	if e := f.lastEvent("token.delete"); e.Outcome != "OK" || e.Token != made.Token.UID || e.Identity != "uid:0" {
		t.Errorf("audit: %+v", e)
	}
}

func TestCreateKey(t *testing.T) {
	f := newFixture(t)
	f.token("t", "")
	for _, c := range []struct {
		spec  string
		usage []string
		bits  uint32
		curve string
		want  []string
	}{
		{"rsa:2048", nil, 2048, "", []string{"sign", "decrypt", "unwrap"}},
		{"RSA:3072", []string{"sign"}, 3072, "", []string{"sign"}},
		{"ec:p224", nil, 224, "P-224", []string{"sign", "derive"}},
		{"ec:P-256", []string{"derive"}, 256, "P-256", []string{"derive"}},
		{"ec:p384", nil, 384, "P-384", []string{"sign", "derive"}},
		{"ec:p521", nil, 521, "P-521", []string{"sign", "derive"}},
		{"ed25519", nil, 255, "Ed25519", []string{"sign"}},
		{"aes:128", []string{"encrypt"}, 128, "", []string{"encrypt"}},
		{"aes:256", []string{"encrypt", "decrypt"}, 256, "", []string{"decrypt", "encrypt"}},
		{"hmac:512", nil, 512, "", []string{"sign", "verify"}},
	} {
		t.Run(c.spec, func(t *testing.T) {
			key, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: c.spec, Label: c.spec, Usage: c.usage})
			ok(t, err)
			if key.Bits != c.bits || key.Curve != c.curve || !slices.Equal(key.Usage, c.want) || key.Label != c.spec {
				t.Errorf("%+v", key)
			}
			pair := key.Class == cryptoki.CKO_PRIVATE_KEY
			if pair != (len(key.PublicKey) > 0) || pair && len(key.KeyID) != 20 {
				t.Errorf("public key of %d bytes, id %x", len(key.PublicKey), key.KeyID)
			}
			if pair {
				_, err = x509.ParsePKIXPublicKey(key.PublicKey)
				if c.curve != "P-224" {
					ok(t, err)
				}
			}
		})
	}
	for _, spec := range []string{"", "rsa", "rsa:", "rsa:2047", "rsa:99999999999", "ec:p192", "ec:ed25519", "aes:129", "aes:0", "dsa:2048", "hmac:-8"} {
		if _, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: spec}); !fault.Is(err, fault.InvalidInput) {
			t.Errorf("%q: %v", spec, err)
		}
	}
	if _, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "aes:256", Usage: []string{"dance"}}); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("an unknown use: %v", err)
	}
	keys, next, err := f.ListKeys(f.ctx, f.as("t"), nil, "")
	ok(t, err)
	if len(keys) != 17 || next != "" {
		t.Errorf("%d objects, next %q", len(keys), next)
	}
	class := cryptoki.CKO_SECRET_KEY
	keys, _, err = f.ListKeys(f.ctx, f.as("t"), &class, "")
	ok(t, err)
	if len(keys) != 3 {
		t.Errorf("%d secret keys", len(keys))
	}
}

func TestImportKey(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	f.token("v", "vault")
	call := f.user(f.application("web", token, everything...), token)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	for name, key := range map[string]any{"rsa": rsaKey, "ec": ecKey} {
		t.Run(name, func(t *testing.T) {
			der, err := x509.MarshalPKCS8PrivateKey(key)
			ok(t, err)
			request := f.as("t")
			made, err := f.ImportKey(f.ctx, request, keyservice.KeyImport{PKCS8: der, Label: name})
			ok(t, err)
			same, err := f.ImportKey(f.ctx, request, keyservice.KeyImport{PKCS8: der, Label: name})
			ok(t, err)
			if same.ID != made.ID || len(made.KeyID) != 20 {
				t.Errorf("ids %d and %d, CKA_ID %x", made.ID, same.ID, made.KeyID)
			}
			objects, err := f.GetKey(f.ctx, f.as("t"), name)
			ok(t, err)
			if len(objects) != 2 || len(objects[0].Attributes) == 0 || !bytes.Equal(objects[0].PublicKey, objects[1].PublicKey) {
				t.Fatalf("%d objects", len(objects))
			}
			m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
			if name == "rsa" {
				m.Type = cryptoki.CKM_RSA_PKCS
			}
			signature, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Object: made.ID}, m, digest, false)
			ok(t, err)
			for _, o := range objects {
				if o.Class == cryptoki.CKO_PUBLIC_KEY {
					verify(t, keyservice.Object{Attributes: o.Attributes}, m, digest, signature)
				}
			}
			_, err = f.ImportKey(f.ctx, f.as("v"), keyservice.KeyImport{PKCS8: der})
			refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
		})
	}
	secret, err := f.ImportKey(f.ctx, f.as("t"), keyservice.KeyImport{Secret: make([]byte, 32), SecretType: "aes", Label: "s"})
	ok(t, err)
	if secret.Bits != 256 || secret.KeyType != cryptoki.CKK_AES {
		t.Errorf("%+v", secret)
	}
	for name, key := range map[string]keyservice.KeyImport{
		"nothing": {}, "garbage": {PKCS8: []byte("garbage")}, "no type": {Secret: make([]byte, 32), SecretType: "des"},
	} {
		if _, err := f.ImportKey(f.ctx, f.as("t"), key); !fault.Is(err, fault.InvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.ImportKey(f.ctx, f.as("t"), keyservice.KeyImport{Secret: make([]byte, 17), SecretType: "aes"}); err == nil {
		t.Error("an AES key of 17 bytes was taken")
	}
}

func TestFindLabelDelete(t *testing.T) {
	f := newFixture(t)
	f.token("t", "vault")
	made, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "ec:p256", Label: "one", ID: []byte{0xab}})
	ok(t, err)
	_, err = f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "ec:p256", Label: "twin"})
	ok(t, err)
	_, err = f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "ec:p256", Label: "twin"})
	ok(t, err)
	for _, name := range []string{"one", "id:ab", "id:AB", made.UID, number(made.ID)} {
		objects, err := f.GetKey(f.ctx, f.as("t"), name)
		ok(t, err)
		if len(objects) != 2 {
			t.Errorf("%q means %d objects", name, len(objects))
		}
	}
	for name, want := range map[string]fault.Kind{
		"": fault.InvalidInput, "id:xy": fault.InvalidInput, "id:": fault.InvalidInput, "none": fault.NotFound, "4711": fault.NotFound,
		"99999999999999999999": fault.NotFound, "twin": fault.Conflict,
	} {
		if _, err := f.GetKey(f.ctx, f.as("t"), name); !fault.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	certificate := selfSigned(t, "one")
	cert, err := f.ImportCertificate(f.ctx, f.as("t"), keyservice.CertificateImport{DER: certificate, Label: "one", ID: []byte{0xab}})
	ok(t, err)

	objects, err := f.LabelKey(f.ctx, f.as("t"), "id:ab", "renamed", []byte{0xcd})
	ok(t, err)
	if len(objects) != 3 {
		t.Fatalf("%d objects were renamed", len(objects))
	}
	for _, o := range objects {
		if o.Label != "renamed" || !bytes.Equal(o.KeyID, []byte{0xcd}) {
			t.Errorf("%v is %q with id %x", o.Class, o.Label, o.KeyID)
		}
	}
	if _, err := f.LabelKey(f.ctx, f.as("t"), "renamed", "", nil); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("nothing to set: %v", err)
	}
	call := f.as("t")
	for range 2 {
		gone, err := f.DeleteKey(f.ctx, call, "renamed", false)
		ok(t, err)
		if len(gone.Keys) != 2 {
			t.Errorf("%d objects went", len(gone.Keys))
		}
	}
	if f.vault.size() != 2 {
		t.Errorf("%d keys are left in the provider", f.vault.size())
	}
	// The certificate stayed until it is named itself.
	gone, err := f.DeleteKey(f.ctx, f.as("t"), number(cert.ID), false)
	ok(t, err)
	if len(gone.Keys) != 1 || gone.Keys[0].ID != cert.ID {
		t.Errorf("%+v", gone)
	}
}

func number(id uint64) string { return new(big.Int).SetUint64(id).String() }

// selfSigned makes a certificate with a key of its own.
func selfSigned(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	return certify(t, name, &key.PublicKey)
}

// certify makes a certificate for a public key, issued by somebody else.
func certify(t *testing.T, name string, public any) []byte {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}}, public, issuer)
	ok(t, err)
	return der
}

func TestImportCertificate(t *testing.T) {
	f := newFixture(t)
	f.token("t", "")
	for _, spec := range []string{"rsa:2048", "ec:p256", "ed25519"} {
		key, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: spec, Label: "key " + spec, ID: []byte(spec)})
		ok(t, err)
		public, err := x509.ParsePKIXPublicKey(key.PublicKey)
		ok(t, err)
		der := certify(t, "www.example", public)
		request := f.as("t")
		cert, err := f.ImportCertificate(f.ctx, request, keyservice.CertificateImport{DER: der})
		ok(t, err)
		if string(cert.KeyID) != spec || cert.Label != "key "+spec || cert.Subject != "CN=www.example" || !bytes.Equal(cert.Certificate, der) {
			t.Errorf("%s: %+v", spec, cert)
		}
		same, err := f.ImportCertificate(f.ctx, request, keyservice.CertificateImport{DER: der})
		ok(t, err)
		if same.ID != cert.ID {
			t.Error("the repeated request made another object")
		}
		if _, err := f.ImportCertificate(f.ctx, f.as("t"), keyservice.CertificateImport{DER: der}); !fault.Is(err, fault.AlreadyExists) {
			t.Errorf("the same certificate again: %v", err)
		}
	}
	// A certificate without its key gets the id that the key would get.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	point, err := key.PublicKey.Bytes()
	ok(t, err)
	id := sha1.Sum(point)
	cert, err := f.ImportCertificate(f.ctx, f.as("t"), keyservice.CertificateImport{DER: certify(t, "later", &key.PublicKey)})
	ok(t, err)
	if !bytes.Equal(cert.KeyID, id[:]) || cert.Label != "later" {
		t.Errorf("id %x, label %q", cert.KeyID, cert.Label)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	late, err := f.ImportKey(f.ctx, f.as("t"), keyservice.KeyImport{PKCS8: der, Label: "late"})
	ok(t, err)
	if !bytes.Equal(late.KeyID, id[:]) {
		t.Errorf("the key got id %x", late.KeyID)
	}
	if _, err := f.ImportCertificate(f.ctx, f.as("t"), keyservice.CertificateImport{DER: []byte("garbage")}); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("garbage: %v", err)
	}
}

// hold puts a foreign key pair into the vault, as if it had been there before us.
func (f *fixture) hold(name string, withPublic bool) {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(f.t, err)
	open, secret, err := softkey.PrivateAttributes(key)
	ok(f.t, err)
	private := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.String(cryptoki.CKA_LABEL, name),
		cryptoki.Bytes(cryptoki.CKA_ID, []byte(name)), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_SENSITIVE, true),
	}
	private = append(private, open...)
	f.vault.keys[name] = append(private.Clone(), secret...)
	found := provider.Found{Name: name, Ref: []byte(name), Objects: []cryptoki.Attributes{private}}
	if withPublic {
		public := cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.String(cryptoki.CKA_LABEL, name+" public"),
			cryptoki.Bytes(cryptoki.CKA_ID, []byte(name)), cryptoki.Bool(cryptoki.CKA_VERIFY, true),
		}
		found.Objects = append(found.Objects, append(public, open...))
	}
	f.vault.found = append(f.vault.found, found)
}

func TestAdoptKeys(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	f.hold("old-1", false)
	f.hold("old-2", true)
	der := selfSigned(t, "cert")
	f.vault.found = append(f.vault.found, provider.Found{Name: "cert", Objects: []cryptoki.Attributes{{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE), cryptoki.Ulong(cryptoki.CKA_CERTIFICATE_TYPE, cryptoki.CKC_X_509),
		cryptoki.Bytes(cryptoki.CKA_VALUE, der), cryptoki.String(cryptoki.CKA_LABEL, "cert"),
	}}})

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	modulus, _, err := softkey.PrivateAttributes(rsaKey)
	ok(t, err)
	f.vault.found = append(f.vault.found, provider.Found{Name: "rsa", Ref: []byte("rsa"), Objects: []cryptoki.Attributes{
		append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.String(cryptoki.CKA_LABEL, "rsa")}, modulus...),
		append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.String(cryptoki.CKA_LABEL, "rsa")}, modulus...),
	}})

	call := f.as("t")
	for range 2 {
		adopted, known, err := f.AdoptKeys(f.ctx, call, keyservice.Adoption{References: []string{"old-1"}})
		ok(t, err)
		// The public half is made of the private one.
		if len(adopted) != 2 || len(known) != 0 || adopted[0].Label != "old-1" || string(adopted[0].KeyID) != "old-1" ||
			adopted[1].Class != cryptoki.CKO_PUBLIC_KEY {
			t.Fatalf("%+v, known %v", adopted, known)
		}
	}
	adopted, known, err := f.AdoptKeys(f.ctx, f.as("t"), keyservice.Adoption{All: true})
	ok(t, err)
	if len(adopted) != 5 || len(known) != 1 || known[0] != "old-1" || adopted[1].Label != "old-2 public" {
		t.Fatalf("%+v, known %v", adopted, known)
	}
	adopted, known, err = f.AdoptKeys(f.ctx, f.as("t"), keyservice.Adoption{All: true})
	ok(t, err)
	if len(adopted) != 0 || len(known) != 4 {
		t.Fatalf("again: %+v, known %v", adopted, known)
	}
	pair, err := f.GetKey(f.ctx, f.as("t"), "rsa")
	ok(t, err)
	if len(pair) != 2 || len(pair[0].KeyID) != 20 || !pair[1].Attributes.Has(cryptoki.CKA_MODULUS_BITS) {
		t.Errorf("%d objects of the RSA key", len(pair))
	}
	// It signs, for applications as well.
	objects, err := f.GetKey(f.ctx, f.as("t"), "old-1")
	ok(t, err)
	user := f.user(f.application("web", token, policy.Use), token)
	signature, _, err := f.Sign(f.ctx, user, keyservice.KeyRef{Object: objects[0].ID}, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest, false)
	ok(t, err)
	verify(t, keyservice.Object{Attributes: objects[1].Attributes}, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest, signature)
	for _, o := range objects {
		// pkcs11-tool and libp11 read these; an object that lacks one is of no use to them.
		for _, needed := range []cryptoki.AttributeType{cryptoki.CKA_EC_POINT, cryptoki.CKA_MODIFIABLE, cryptoki.CKA_DESTROYABLE, cryptoki.CKA_LOCAL} {
			if !o.Attributes.Has(needed) {
				t.Errorf("an adopted %v has no %v", o.Class, needed)
			}
		}
	}
	if !objects[0].Attributes.Has(cryptoki.CKA_ALWAYS_AUTHENTICATE) {
		t.Error("an adopted private key has no CKA_ALWAYS_AUTHENTICATE")
	}
	if objects[0].Attributes.Bool(cryptoki.CKA_EXTRACTABLE) || !objects[0].Attributes.Bool(cryptoki.CKA_PRIVATE) {
		t.Error("an adopted key is not protected")
	}
	for _, o := range objects {
		if o.Attributes.Has(cryptoki.CKA_PRIVATE_EXPONENT) || o.Class == cryptoki.CKO_PRIVATE_KEY && o.Attributes.Has(cryptoki.CKA_VALUE) {
			t.Error("a secret attribute is in the store")
		}
	}

	listed, next, err := f.ListProviderKeys(f.ctx, f.as(""), "vault", "")
	ok(t, err)
	if len(listed) != 1 || listed[0].Token != "t" || listed[0].Reference != "old-1" || listed[0].Bits != 256 || next == "" {
		t.Errorf("%+v, next %q", listed, next)
	}
	for name, c := range map[string]struct {
		adoption keyservice.Adoption
		want     fault.Kind
	}{
		"nothing":             {keyservice.Adoption{}, fault.InvalidInput},
		"an unknown key":      {keyservice.Adoption{References: []string{"none"}}, fault.NotFound},
		"an unknown provider": {keyservice.Adoption{All: true, Provider: "none"}, fault.NotFound},
		"no lister":           {keyservice.Adoption{All: true, Provider: "software"}, fault.FunctionNotSupported},
	} {
		if _, _, err := f.AdoptKeys(f.ctx, f.as("t"), c.adoption); !fault.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExplainView(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	f.token("hidden", "")
	app := f.application("web", token, policy.Use)
	_, err := f.CreateKey(f.ctx, f.as("t"), keyservice.NewKey{Spec: "ec:p256", Label: "k"})
	ok(t, err)
	for range 3 {
		_, _, _ = f.Login(f.ctx, f.public(app, token), cryptoki.CKU_USER, []byte("wrong"))
	}
	for _, name := range []string{"web", app.Identity} {
		view, err := f.ExplainView(f.ctx, f.as(""), name)
		ok(t, err)
		if view.Application != "web" || len(view.Visible) != 1 || len(view.Hidden) != 1 || len(view.Visible[0].Keys) != 2 {
			t.Fatalf("%+v", view)
		}
		if !slices.Equal(view.Visible[0].Operations, []string{"use"}) || !strings.Contains(view.Hidden[0].Reason, "no grant") {
			t.Errorf("%+v", view)
		}
		warnings := strings.Join(view.Visible[0].Warnings, "\n")
		if !strings.Contains(warnings, "locked") || !strings.Contains(warnings, "certificate") {
			t.Errorf("warnings: %s", warnings)
		}
	}
	view, err := f.ExplainView(f.ctx, f.as(""), "")
	ok(t, err)
	if len(view.Visible) != 2 || len(view.Hidden) != 0 {
		t.Errorf("the administrator sees %+v", view)
	}
	view, err = f.ExplainView(f.ctx, f.as(""), "uid:4711")
	ok(t, err)
	if len(view.Visible) != 0 || len(view.Hidden) != 2 || !strings.Contains(view.Hidden[0].Reason, "app add") {
		t.Errorf("a stranger sees %+v", view)
	}
	if _, err := f.ExplainView(f.ctx, f.as(""), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown application: %v", err)
	}
}

func TestProviders(t *testing.T) {
	f := newFixture(t)
	list, err := f.ListProviders(f.ctx, f.as(""))
	ok(t, err)
	if len(list) != 2 || list[0].Name != "software" || !list[0].Healthy || !slices.Equal(list[1].Abilities, []string{"destroy", "list"}) ||
		!slices.Equal(list[1].Curves, []string{"P-256"}) {
		t.Errorf("%+v", list)
	}
	f.token("t", "")
	for _, name := range []string{"software", "vault"} {
		results, err := f.CheckProvider(f.ctx, f.as(""), name)
		ok(t, err)
		steps := map[string]bool{}
		for _, r := range results {
			steps[r.Name] = true
			if !r.Passed {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if !steps["generate"] || !steps["sign"] || !steps["verify"] {
			t.Errorf("%s: %v", name, steps)
		}
	}
	if f.vault.size() != 0 {
		t.Error("the check left a key behind")
	}
	if _, err := f.CheckProvider(f.ctx, f.as(""), "none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown provider: %v", err)
	}
}
