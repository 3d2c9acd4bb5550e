// Package provider says what a place that holds and uses keys must be able to do. Each concrete provider is a package
// below this one; only the catalog imports them. One conformance suite, providertest, is run by all.
package provider

import (
	"context"
	"crypto/rsa"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Provider holds key material and uses it. What every provider must do is here; what some can do is found by type
// assertion: Importer, WrappedImporter, Destroyer, Lister, RandomSource and HealthChecker on the provider, Signer,
// Decrypter, Encrypter, Deriver, Exporter and Wrapper on its keys.
//
// Errors are *fault.Error with the kind whose CK_RV the application must get; anything else is an internal error.
// All methods are safe for concurrent use and end when the context does.
type Provider interface {
	// Capabilities tells what the provider can do. It is data, computed without I/O, and does not change.
	Capabilities() Capabilities
	// Generate makes a secret key or a key pair. Called again with the same Identity after a lost answer it returns
	// the key made before, never a second one, where the provider keeps keys of its own.
	Generate(ctx context.Context, request GenerateRequest) (Generated, error)
	// Key returns the key behind a reference: fault.KeyHandleInvalid if the provider no longer has it.
	Key(ctx context.Context, reference Reference) (Key, error)
	// Close ends the provider's connections and wipes what it keeps in memory.
	Close() error
}

// Pending is a provider that may not be open yet: its library, its server or its credentials are not there. Its
// Capabilities are known, and what else it can do by type assertion is found, when it is open.
type Pending interface {
	Provider
	// Opened returns the provider itself once it is open, and before that why it is not.
	Opened() (Provider, error)
}

// Identity names the object that a key is made for. Providers that keep keys use it as the name of the key and as the
// idempotency token; software binds the sealed value to it.
type Identity struct {
	// UID is the object's unique id, 32 hexadecimal digits. On a repeated request it is the same.
	UID string
	// Token is the uid of the token.
	Token string
	// Session tells that the key lives only as long as an application's session. Only software makes such keys.
	Session bool
}

// GenerateRequest asks for a key. For a secret key Public is nil.
type GenerateRequest struct {
	Identity  Identity
	Mechanism cryptoki.Mechanism
	// Public and Private are complete and consistent attributes (internal/object has checked them), without the key's
	// value: CKA_MODULUS_BITS and CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS, or CKA_PARAMETER_SET, stand in Public; CKA_VALUE_LEN of a secret
	// key in Private.
	Public, Private cryptoki.Attributes
}

// Generated is a new key.
type Generated struct {
	// Ref is the provider's own name of the key, at most 64 KiB, kept by the store as it is. It holds no secret in
	// clear.
	Ref []byte
	// Public holds the attributes that the provider adds to both halves: CKA_MODULUS, CKA_PUBLIC_EXPONENT,
	// CKA_EC_PARAMS, CKA_EC_POINT (a DER OCTET STRING), or CKA_PARAMETER_SET, CKA_VALUE (the public key's) and
	// CKA_PUBLIC_KEY_INFO of ML-DSA.
	Public cryptoki.Attributes
	// Private holds the attributes of the private or secret key that became other than the template said, so that the
	// object tells the truth: usage flags that the provider did not grant, CKA_ALLOWED_MECHANISMS, CKA_EXTRACTABLE.
	Private cryptoki.Attributes
}

// Reference is what the store knows of a key.
type Reference struct {
	Identity Identity
	Ref      []byte
	// Attributes are the object's, without secret values.
	Attributes cryptoki.Attributes
}

// Key is a key in use. What it can do is found by type assertion.
type Key interface {
	// Reference returns what the key was found by.
	Reference() Reference
}

// Signer signs or computes MACs. The mechanism is raw: CKM_RSA_PKCS (data is padded as it is, a DigestInfo or not),
// CKM_RSA_X_509, CKM_RSA_PKCS_PSS (data is the hash), CKM_ECDSA (data is the hash; the signature is r‖s of full
// length), CKM_EDDSA, CKM_ML_DSA, CKM_SHAx_HMAC: keyservice has hashed and wrapped what SHAx_RSA_PKCS and its like want.
type Signer interface {
	Sign(ctx context.Context, mechanism cryptoki.Mechanism, data []byte) ([]byte, error)
}

// Decrypter decrypts a whole message, or whole blocks where keyservice chains CKM_AES_CBC, CKM_AES_CTR or CKM_AES_ECB.
type Decrypter interface {
	Decrypt(ctx context.Context, mechanism cryptoki.Mechanism, ciphertext []byte) ([]byte, error)
}

// Encrypter encrypts as Decrypter decrypts.
type Encrypter interface {
	Encrypt(ctx context.Context, mechanism cryptoki.Mechanism, plaintext []byte) ([]byte, error)
}

// Deriver derives a shared secret of `length` bytes, all there is if 0; the caller wipes it.
type Deriver interface {
	Derive(ctx context.Context, mechanism cryptoki.Mechanism, length int) ([]byte, error)
}

// Exporter reveals the secret attributes (CKA_VALUE, CKA_PRIVATE_EXPONENT…) of a key that is extractable and not
// sensitive; keyservice has checked that it is. The caller wipes them.
type Exporter interface {
	Export(ctx context.Context) (cryptoki.Attributes, error)
}

// Importer is a provider that takes key material. The request's attributes hold the secret ones as well.
type Importer interface {
	Import(ctx context.Context, identity Identity, attributes cryptoki.Attributes) (Generated, error)
}

// Wrapper is a key that can leave its provider for another one. Whether an application may read the value is another
// question, which Exporter answers.
type Wrapper interface {
	// Wrap returns the key's material, a private key as PKCS#8 and a secret key as its bytes, wrapped under an RSA key as
	// CKM_RSA_AES_KEY_WRAP does it with SHA-256: keywrap.RSAAES. fault.KeyUnextractable if this key may not leave.
	Wrap(ctx context.Context, under *rsa.PublicKey) ([]byte, error)
}

// WrappedImporter is an Importer whose service has an RSA key to wrap material under, so that nobody on the way sees it
// in clear. The attributes are those of the object, without secret ones but with the public ones; like Import it makes
// one key for an Identity, however often it is asked.
type WrappedImporter interface {
	ImportWrapped(ctx context.Context, identity Identity, attributes cryptoki.Attributes, material Wrapper) (Generated, error)
}

// Destroyer is a provider that keeps keys which must be destroyed there too. Destroying what is gone is no error.
type Destroyer interface {
	Destroy(ctx context.Context, reference Reference) error
}

// Found is a key or certificate that sits in a provider, known to us or not.
type Found struct {
	// Name is how an administrator names it, unique in the provider.
	Name string
	// Ref is for Reference.
	Ref []byte
	// Objects are the objects to make when the key is adopted: a secret key, or a private and a public key, or a
	// certificate. Ref stands behind the first of them that is a private or secret key.
	// None if the key cannot be used, which State then explains.
	Objects []cryptoki.Attributes
	// State says in the provider's words why the key cannot be used, such as Disabled; empty if it can.
	State string
	// Version is that of the key where the provider has versions.
	Version string
	// Expires is when the provider stops using the key; zero if never.
	Expires time.Time
}

// Inspector is a Lister that tells what has become of one key, by asking and not from memory: nil if it can be used,
// fault.KeyHandleInvalid if it is gone, else a fault that says what it is.
type Inspector interface {
	Inspect(ctx context.Context, reference Reference) error
}

// Lister is a provider that can list what it holds, page by page. The first page is "", the last answers "".
type Lister interface {
	List(ctx context.Context, page string) (found []Found, next string, err error)
}

// Finder is a Lister that finds one key by a name that an administrator gives, without listing all: fault.NotFound if
// there is none. The name may be another one than Found.Name.
type Finder interface {
	Find(ctx context.Context, name string) (Found, error)
}

// Forgetter is a provider that keeps keys in memory and can wipe them. They come back when they are used, if they may.
type Forgetter interface {
	Forget()
}

// RandomSource is a provider with random numbers of its own.
type RandomSource interface {
	Random(ctx context.Context, length int) ([]byte, error)
}

// HealthChecker is a provider that can tell whether it would serve; nil if so.
type HealthChecker interface {
	Health(ctx context.Context) error
}

// Checker is a provider that can be checked beyond its own word, by another implementation that uses its keys. It may
// hold up other calls for as long as it takes: it is for administrators who ask for it.
type Checker interface {
	Check(ctx context.Context) ([]CheckResult, error)
}

// CheckResult is one step of a check; Err is nil if it passed.
type CheckResult struct {
	Name   string
	Detail string
	Err    error
	Took   time.Duration
}
