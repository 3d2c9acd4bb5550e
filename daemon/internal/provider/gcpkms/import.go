package gcpkms

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

var (
	versionsList = permission{name: "cloudkms.cryptoKeyVersions.list"}
	jobsCreate   = permission{name: "cloudkms.importJobs.create"}
	jobsGet      = permission{name: "cloudkms.importJobs.get"}
	jobsUse      = permission{name: "cloudkms.importJobs.useToImport with cloudkms.cryptoKeyVersions.create", once: true}
)

// material is a key on its way into the service.
type material struct {
	algorithm algorithm
	public    cryptoki.Attributes
	// value is the PKCS#8 form of a private key, or the bytes of a secret one; nil where another provider has it.
	value keywrap.Value
	// from wraps the value.
	from provider.Wrapper
}

// Import puts key material into the key ring, wrapped under an import job's key. A repeated request finds the key that
// is there.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	if err := p.ready(ctx, "import a key"); err != nil {
		return provider.Generated{}, err
	}
	m, err := p.importable(attributes)
	if err != nil {
		return provider.Generated{}, err
	}
	defer clear(m.value)
	return p.bring(ctx, identity, attributes, m)
}

// ImportWrapped puts material into the key ring that another provider wraps under an import job's key.
func (p *Provider) ImportWrapped(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, from provider.Wrapper) (provider.Generated, error) {
	if err := p.ready(ctx, "import a key"); err != nil {
		return provider.Generated{}, err
	}
	m := material{from: from, public: attributes}
	var err error
	if m.algorithm, err = p.fitting(attributes); err != nil {
		return provider.Generated{}, err
	}
	return p.bring(ctx, identity, attributes, m)
}

// bring makes the key that the material becomes a version of.
func (p *Provider) bring(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, m material) (provider.Generated, error) {
	var none provider.Generated
	name, fresh, err := p.create(ctx, identity, m.algorithm, attributes, true)
	if err != nil {
		return none, err
	}
	version, err := p.place(ctx, name, fresh, m)
	if err != nil {
		return none, err
	}
	if err := p.await(ctx, version, m.algorithm); err != nil {
		return none, err
	}
	public, err := p.public(ctx, version, m.algorithm)
	if err != nil {
		return none, err
	}
	// What is imported is RSA, EC or a secret key: no others have more, and CKA_PUBLIC_KEY_INFO follows from these.
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT} {
		if !bytes.Equal(public.Bytes(t), m.public.Bytes(t)) {
			return none, fault.New(fault.Conflict, "Google Cloud KMS has another key pair under %s than the one that was imported; repeat the request under a new id", version)
		}
	}
	return provider.Generated{Ref: []byte(version), Public: public, Private: m.algorithm.granted(attributes, false)}, nil
}

// importable reads a key to import and says what it becomes.
func (p *Provider) importable(attributes cryptoki.Attributes) (m material, err error) {
	class, _ := attributes.Class()
	if class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return m, fault.New(fault.TemplateInconsistent, "only private and secret keys can be imported, not %s", class)
	}
	key, err := softkey.FromAttributes(attributes)
	if err != nil {
		return m, err
	}
	defer key.Wipe()
	open := attributes.Clone()
	if class == cryptoki.CKO_SECRET_KEY {
		m.value = bytes.Clone(attributes.Bytes(cryptoki.CKA_VALUE))
		open.Set(cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(len(m.value))))
	} else {
		m.public = key.PublicAttributes()
		for _, a := range m.public {
			open.Set(a)
		}
		if m.value, err = key.PKCS8(); err != nil {
			return m, err
		}
	}
	m.algorithm, err = p.fitting(open)
	return m, err
}

// fitting returns the algorithm for a key that its object's open attributes describe.
func (p *Provider) fitting(attributes cryptoki.Attributes) (algorithm, error) {
	class, _ := attributes.Class()
	keyType, _ := attributes.KeyType()
	var fits func(algorithm) bool
	switch {
	case class == cryptoki.CKO_SECRET_KEY:
		size, _ := attributes.Ulong(cryptoki.CKA_VALUE_LEN)
		if plain(keyType) == cryptoki.CKK_GENERIC_SECRET {
			size *= 8
		}
		fits = func(a algorithm) bool { return a.keyType == plain(keyType) && a.size == size }
	case keyType == cryptoki.CKK_ML_DSA:
		return algorithm{}, fault.New(fault.KeyTypeInconsistent, "Google Cloud KMS takes no ML-DSA keys from outside; make a new one there")
	case keyType == cryptoki.CKK_RSA:
		if e := new(big.Int).SetBytes(attributes.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)); !e.IsInt64() || e.Int64() != 65537 {
			return algorithm{}, fault.New(fault.AttributeValueInvalid, "Google Cloud KMS takes RSA keys only with the public exponent 65537, not %s", e)
		}
		bits := 8 * uint64(len(attributes.Bytes(cryptoki.CKA_MODULUS)))
		fits = func(a algorithm) bool { return a.keyType == keyType && a.size == bits }
	default:
		params := attributes.Bytes(cryptoki.CKA_EC_PARAMS)
		fits = func(a algorithm) bool { return a.curve != nil && bytes.Equal(a.curve.Params, params) }
	}
	return choose(fits, attributes, p.config.RSASigning == SignPSS)
}

// place imports the material as a version of a key, unless an earlier attempt has.
func (p *Provider) place(ctx context.Context, name string, fresh bool, m material) (string, error) {
	from := m.from
	// The flight may outlive this call, whose own copy is wiped when it ends.
	value := bytes.Clone(m.value)
	if from == nil {
		from = keywrap.Value(value)
	}
	answer := p.imports.DoChan(name, func() (any, error) {
		// An attempt whose caller has gone must not leave the next one in doubt.
		working, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.CallTimeout)
		defer cancel()
		var failed string
		if !fresh {
			versions, err := p.versions(working, name)
			if err != nil {
				return "", err
			}
			for _, v := range versions {
				if v.GetState() != kmspb.CryptoKeyVersion_IMPORT_FAILED {
					return v.GetName(), nil
				}
				failed = v.GetName()
			}
		}
		job, err := p.importJob(working)
		if err != nil {
			return "", err
		}
		wrapped, err := wrapFor(working, job, from)
		if err != nil {
			return "", err
		}
		made, err := call(working, p, jobsUse, job.GetName(), p.client.ImportCryptoKeyVersion, &kmspb.ImportCryptoKeyVersionRequest{
			Parent: name, CryptoKeyVersion: failed, Algorithm: m.algorithm.id, ImportJob: job.GetName(), WrappedKey: wrapped,
		})
		if err != nil {
			return "", err
		}
		if keyOf(made.GetName()) != name || !versionName.MatchString(made.GetName()) {
			return "", fault.New(fault.DeviceError, "Google Cloud KMS imported the key as %q; look at the endpoint", made.GetName())
		}
		return made.GetName(), nil
	})
	select {
	case got := <-answer:
		clear(value)
		if got.Err != nil {
			return "", got.Err
		}
		return got.Val.(string), nil
	case <-ctx.Done():
		go func() {
			<-answer
			clear(value)
		}()
		return "", ended(ctx, "import the key "+name)
	}
}

// wrapFor is what RSA_OAEP_3072_SHA256_AES_256 wants: CKM_RSA_AES_KEY_WRAP in PKCS#11's words.
func wrapFor(ctx context.Context, job *kmspb.ImportJob, from provider.Wrapper) ([]byte, error) {
	block, _ := pem.Decode([]byte(job.GetPublicKey().GetPem()))
	if block == nil {
		return nil, fault.New(fault.DeviceError, "the import job %s has no public key in PEM; look at the endpoint", job.GetName())
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "the public key of the import job %s cannot be read; look at the endpoint: %w", job.GetName(), err)
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok || public.N.BitLen() < 3072 {
		return nil, fault.New(fault.DeviceError, "the public key of the import job %s is no RSA key of 3072 bits; look at the endpoint", job.GetName())
	}
	return from.Wrap(ctx, public)
}

// importJob returns a job that takes keys. Jobs live three days and cannot be deleted, so there is one a day.
func (p *Provider) importJob(ctx context.Context) (*kmspb.ImportJob, error) {
	id := fmt.Sprintf("anyhsm-%s-%s", time.Now().UTC().Format("20060102"), strings.ToLower(p.level.String()))
	name := p.config.KeyRing + "/importJobs/" + id
	job, err := call(ctx, p, jobsGet, name, p.client.GetImportJob, &kmspb.GetImportJobRequest{Name: name})
	if fault.Is(err, fault.KeyHandleInvalid) {
		job, err = call(ctx, p, jobsCreate, p.config.KeyRing, p.client.CreateImportJob, &kmspb.CreateImportJobRequest{
			Parent: p.config.KeyRing, ImportJobId: id,
			ImportJob: &kmspb.ImportJob{ImportMethod: kmspb.ImportJob_RSA_OAEP_3072_SHA256_AES_256, ProtectionLevel: p.level},
		})
		if fault.Is(err, fault.Conflict) { // another daemon was faster
			job, err = call(ctx, p, jobsGet, name, p.client.GetImportJob, &kmspb.GetImportJobRequest{Name: name})
		}
	}
	for pause := firstPause; err == nil; pause = min(2*pause, time.Second) {
		switch {
		case job.GetName() != name || job.GetImportMethod() != kmspb.ImportJob_RSA_OAEP_3072_SHA256_AES_256 || job.GetProtectionLevel() != p.level:
			return nil, fault.New(fault.Conflict, "the import job %s is another one than AnyHSM makes; see that nobody else uses this name", name)
		case job.GetState() == kmspb.ImportJob_ACTIVE:
			return job, nil
		case job.GetState() == kmspb.ImportJob_EXPIRED:
			return nil, fault.New(fault.DeviceError, "the import job %s of today has expired; set the daemon's clock", name)
		case !p.pause(ctx, pause):
			return nil, p.ready(ctx, "make the import job "+name)
		}
		job, err = call(ctx, p, jobsGet, name, p.client.GetImportJob, &kmspb.GetImportJobRequest{Name: name})
	}
	return nil, err
}

// versions lists the versions of a key.
func (p *Provider) versions(ctx context.Context, name string) (all []*kmspb.CryptoKeyVersion, err error) {
	type answer struct{ all []*kmspb.CryptoKeyVersion }
	got, err := call(ctx, p, versionsList, name, func(ctx context.Context, in *kmspb.ListCryptoKeyVersionsRequest, _ ...callOption) (*answer, error) {
		pager := iterator.NewPager(p.client.ListCryptoKeyVersions(ctx, in), pageSize, "")
		var made answer
		for {
			next, err := pager.NextPage(&made.all)
			if err != nil || next == "" {
				return &made, err
			}
		}
	}, &kmspb.ListCryptoKeyVersionsRequest{Parent: name})
	if err != nil {
		return nil, err
	}
	return got.all, nil
}
