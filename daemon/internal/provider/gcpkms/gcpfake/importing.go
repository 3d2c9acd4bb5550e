package gcpfake

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
)

// job is an ImportJob with its private key.
type job struct {
	meta    *kmspb.ImportJob
	private *rsa.PrivateKey
}

// CreateImportJob makes a job; its key takes a moment.
func (k *KMS) CreateImportJob(_ context.Context, in *kmspb.CreateImportJobRequest) (*kmspb.ImportJob, error) {
	if err := ring(in.GetParent()); err != nil {
		return nil, err
	}
	if !idPattern.MatchString(in.GetImportJobId()) {
		return nil, refuse(codes.InvalidArgument, "import_job_id must match the regular expression %s", idPattern)
	}
	if in.GetImportJob().GetImportMethod() != kmspb.ImportJob_RSA_OAEP_3072_SHA256_AES_256 {
		return nil, refuse(codes.InvalidArgument, "This fake does not know the import method %s.", in.GetImportJob().GetImportMethod())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	name := in.GetParent() + "/importJobs/" + in.GetImportJobId()
	if k.jobs[name] != nil {
		return nil, refuse(codes.AlreadyExists, "ImportJob %s already exists.", name)
	}
	meta := proto.CloneOf(in.GetImportJob())
	meta.Name, meta.State, meta.CreateTime = name, kmspb.ImportJob_PENDING_GENERATION, now()
	meta.ExpireTime = timestamppb.New(time.Now().Add(72 * time.Hour))
	made := &job{meta: meta}
	k.jobs[name] = made
	go func() {
		private, err := rsa.GenerateKey(rand.Reader, 3072)
		if err != nil {
			return
		}
		text, _ := publicPEM(private)
		k.mu.Lock()
		defer k.mu.Unlock()
		made.private, meta.State = private, kmspb.ImportJob_ACTIVE
		meta.PublicKey = &kmspb.ImportJob_WrappingPublicKey{Pem: text}
	}()
	return proto.CloneOf(meta), nil
}

// GetImportJob describes a job.
func (k *KMS) GetImportJob(_ context.Context, in *kmspb.GetImportJobRequest) (*kmspb.ImportJob, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if made := k.jobs[in.GetName()]; made != nil {
		return proto.CloneOf(made.meta), nil
	}
	return nil, refuse(codes.NotFound, "ImportJob %s not found.", in.GetName())
}

// ImportCryptoKeyVersion unwraps key material. What is wrong with it shows in the version's state.
func (k *KMS) ImportCryptoKeyVersion(_ context.Context, in *kmspb.ImportCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, by := k.keys[in.GetParent()], k.jobs[in.GetImportJob()]
	purpose, known := purposeOf(in.GetAlgorithm())
	switch {
	case c == nil:
		return nil, refuse(codes.NotFound, "CryptoKey %s not found.", in.GetParent())
	case by == nil:
		return nil, refuse(codes.NotFound, "ImportJob %s not found.", in.GetImportJob())
	case by.meta.GetState() != kmspb.ImportJob_ACTIVE:
		return nil, refuse(codes.FailedPrecondition, "ImportJob %s is not active, current state is: %s.", in.GetImportJob(), by.meta.GetState())
	case !known || purpose != c.meta.GetPurpose():
		return nil, refuse(codes.InvalidArgument, "The algorithm %s is not compatible with the purpose %s.", in.GetAlgorithm(), c.meta.GetPurpose())
	case by.meta.GetProtectionLevel() != c.meta.GetVersionTemplate().GetProtectionLevel():
		return nil, refuse(codes.InvalidArgument, "The protection levels of job and key differ.")
	case len(in.GetWrappedKey()) < 384+16:
		return nil, refuse(codes.InvalidArgument, "The wrapped key is too short.")
	}
	var v *version
	if target := in.GetCryptoKeyVersion(); target != "" {
		found, err := k.find(target)
		if err != nil {
			return nil, err
		}
		if found.key != c || found.meta.GetState() != kmspb.CryptoKeyVersion_IMPORT_FAILED && found.meta.GetState() != kmspb.CryptoKeyVersion_DESTROYED {
			return nil, refuse(codes.FailedPrecondition, "%s cannot be imported into.", target)
		}
		v = found
	} else {
		v = c.add(in.GetAlgorithm())
	}
	v.meta.State, v.meta.ImportJob, v.meta.ImportTime = kmspb.CryptoKeyVersion_PENDING_IMPORT, in.GetImportJob(), now()
	wrapped := in.GetWrappedKey()
	go func() {
		material, err := unwrap(by.private, wrapped, in.GetAlgorithm())
		k.mu.Lock()
		defer k.mu.Unlock()
		if v.meta.State = kmspb.CryptoKeyVersion_ENABLED; err != nil {
			v.meta.State, v.meta.ImportFailureReason = kmspb.CryptoKeyVersion_IMPORT_FAILED, err.Error()
		}
		v.material = material
	}()
	return proto.CloneOf(v.meta), nil
}

// unwrap takes the key out of its two wrappings, and checks that it is one for the algorithm.
func unwrap(private *rsa.PrivateKey, wrapped []byte, a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (any, error) {
	ephemeral, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped[:private.Size()], nil)
	if err != nil || len(ephemeral) != 32 {
		return nil, errors.New("the ephemeral key does not decrypt to 32 bytes")
	}
	value, err := keywrap.Unwrap(ephemeral, wrapped[private.Size():])
	if err != nil {
		return nil, err
	}
	purpose, _ := purposeOf(a)
	switch purpose {
	case kmspb.CryptoKey_MAC:
		if len(value) != macSizes[a] {
			return nil, errors.New("an HMAC key must be as long as the hash")
		}
		return value, nil
	case kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT:
		if 8*len(value) != sizeOf(a) {
			return nil, errors.New("the AES key has the wrong length")
		}
		return value, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(value)
	if err != nil {
		return nil, errors.New("the key is no PKCS#8")
	}
	name := a.String()
	good := false
	switch parsed := parsed.(type) {
	case *rsa.PrivateKey:
		good = strings.HasPrefix(name, "RSA_") && parsed.N.BitLen() == sizeOf(a) && parsed.E == 65537
	case *ecdsa.PrivateKey:
		good = strings.HasPrefix(name, "EC_SIGN_P256") && parsed.Curve.Params().BitSize == 256 || strings.HasPrefix(name, "EC_SIGN_P384") && parsed.Curve.Params().BitSize == 384
	case ed25519.PrivateKey:
		good = name == "EC_SIGN_ED25519"
	}
	if !good {
		return nil, errors.New("the key does not match the algorithm")
	}
	return parsed, nil
}
