package gcpfake

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"filippo.io/mldsa"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// key is a CryptoKey with its versions.
type key struct {
	meta     *kmspb.CryptoKey
	versions []*version
}

// version is a CryptoKeyVersion with its material: an *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey, *mldsa.PrivateKey or []byte.
type version struct {
	meta     *kmspb.CryptoKeyVersion
	key      *key
	material any
}

var (
	idPattern    = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)
	labelKey     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	labelValue   = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	keyPath      = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[a-zA-Z0-9_-]{1,63}$`)
	versionPath  = regexp.MustCompile(`^(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[a-zA-Z0-9_-]{1,63})/cryptoKeyVersions/([1-9][0-9]*)$`)
	digits       = regexp.MustCompile(`_([0-9]{3,4})(_|$)`)
	mostLabels   = 64
	leastDestroy = 24 * time.Hour
	mostDestroy  = 120 * 24 * time.Hour
	usualDestroy = 30 * 24 * time.Hour
)

// purposeOf tells what keys of an algorithm are for; false for one that this fake does not have.
func purposeOf(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (kmspb.CryptoKey_CryptoKeyPurpose, bool) {
	name := a.String()
	switch {
	case strings.HasPrefix(name, "RSA_SIGN_"), a == kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256,
		a == kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, a == kmspb.CryptoKeyVersion_EC_SIGN_ED25519:
		return kmspb.CryptoKey_ASYMMETRIC_SIGN, true
	case strings.HasPrefix(name, "PQ_SIGN_ML_DSA_"):
		return kmspb.CryptoKey_ASYMMETRIC_SIGN, true
	case strings.HasPrefix(name, "RSA_DECRYPT_"):
		return kmspb.CryptoKey_ASYMMETRIC_DECRYPT, true
	case strings.HasPrefix(name, "HMAC_"):
		return kmspb.CryptoKey_MAC, true
	case strings.HasPrefix(name, "AES_") && !strings.HasSuffix(name, "KWP"):
		return kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT, true
	case a == kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION:
		return kmspb.CryptoKey_ENCRYPT_DECRYPT, true
	}
	return 0, false
}

// sizeOf is the number in an algorithm's name.
func sizeOf(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) int {
	found := digits.FindStringSubmatch(a.String())
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// macSizes are the lengths of HMAC keys in bytes.
var macSizes = map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]int{
	kmspb.CryptoKeyVersion_HMAC_SHA1: 20, kmspb.CryptoKeyVersion_HMAC_SHA224: 28, kmspb.CryptoKeyVersion_HMAC_SHA256: 32,
	kmspb.CryptoKeyVersion_HMAC_SHA384: 48, kmspb.CryptoKeyVersion_HMAC_SHA512: 64,
}

// CreateCryptoKey makes a key, and its first version unless that is to be imported.
func (k *KMS) CreateCryptoKey(_ context.Context, in *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	if err := ring(in.GetParent()); err != nil {
		return nil, err
	}
	if err := acceptable(in); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	name := in.GetParent() + "/cryptoKeys/" + in.GetCryptoKeyId()
	if k.keys[name] != nil {
		return nil, refuse(codes.AlreadyExists, "CryptoKey %s already exists.", name)
	}
	meta := proto.CloneOf(in.GetCryptoKey())
	meta.Name, meta.CreateTime = name, now()
	made := &key{meta: meta}
	k.keys[name] = made
	if !in.GetSkipInitialVersionCreation() {
		v := made.add(meta.GetVersionTemplate().GetAlgorithm())
		v.meta.State = kmspb.CryptoKeyVersion_PENDING_GENERATION
		go k.generate(v)
	}
	return proto.CloneOf(meta), nil
}

// acceptable checks a key that is to be made.
func acceptable(in *kmspb.CreateCryptoKeyRequest) error {
	meta := in.GetCryptoKey()
	a := meta.GetVersionTemplate().GetAlgorithm()
	purpose, known := purposeOf(a)
	duration := meta.GetDestroyScheduledDuration()
	switch {
	case !idPattern.MatchString(in.GetCryptoKeyId()):
		return refuse(codes.InvalidArgument, "crypto_key_id must match the regular expression %s", idPattern)
	case !known || purpose != meta.GetPurpose():
		return refuse(codes.InvalidArgument, "The algorithm %s is not compatible with the purpose %s.", a, meta.GetPurpose())
	case meta.GetVersionTemplate().GetProtectionLevel() != kmspb.ProtectionLevel_SOFTWARE && meta.GetVersionTemplate().GetProtectionLevel() != kmspb.ProtectionLevel_HSM:
		return refuse(codes.InvalidArgument, "The protection level %s is not supported.", meta.GetVersionTemplate().GetProtectionLevel())
	case meta.GetImportOnly() && !in.GetSkipInitialVersionCreation():
		return refuse(codes.InvalidArgument, "skip_initial_version_creation must be true when import_only is set.")
	case len(meta.GetLabels()) > mostLabels:
		return refuse(codes.InvalidArgument, "At most %d labels are allowed.", mostLabels)
	case duration != nil && (duration.AsDuration() < leastDestroy || duration.AsDuration() > mostDestroy):
		return refuse(codes.InvalidArgument, "destroy_scheduled_duration must be between 24 hours and 120 days.")
	}
	for name, value := range meta.GetLabels() {
		if !labelKey.MatchString(name) || !labelValue.MatchString(value) {
			return refuse(codes.InvalidArgument, "The label %q: %q is not valid.", name, value)
		}
	}
	return nil
}

// add makes a version without material. The lock is held.
func (c *key) add(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) *version {
	v := &version{key: c, meta: &kmspb.CryptoKeyVersion{
		Name: fmt.Sprintf("%s/cryptoKeyVersions/%d", c.meta.GetName(), len(c.versions)+1), Algorithm: a,
		ProtectionLevel: c.meta.GetVersionTemplate().GetProtectionLevel(), CreateTime: now(),
	}}
	c.versions = append(c.versions, v)
	return v
}

// generate makes the material of a version that waits for it.
func (k *KMS) generate(v *version) {
	a := v.meta.GetAlgorithm()
	var material any
	var err error
	switch name := a.String(); {
	case strings.HasPrefix(name, "RSA_"):
		material, err = rsa.GenerateKey(rand.Reader, sizeOf(a))
	case a == kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256:
		material, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case a == kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384:
		material, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case a == kmspb.CryptoKeyVersion_EC_SIGN_ED25519:
		_, material, err = ed25519.GenerateKey(rand.Reader)
	case strings.HasPrefix(name, "PQ_SIGN_ML_DSA_"):
		sets := map[string]mldsa.Parameters{"44": mldsa.MLDSA44(), "65": mldsa.MLDSA65(), "87": mldsa.MLDSA87()}
		material, err = mldsa.GenerateKey(sets[name[15:17]])
	default:
		length := macSizes[a]
		if length == 0 {
			length = max(sizeOf(a), 128) / 8
		}
		value := make([]byte, length)
		_, _ = rand.Read(value)
		material = value
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if v.meta.State = kmspb.CryptoKeyVersion_ENABLED; err != nil {
		v.meta.State, v.meta.GenerationFailureReason = kmspb.CryptoKeyVersion_GENERATION_FAILED, err.Error()
	}
	v.material, v.meta.GenerateTime = material, now()
}

// SetState puts a version into a state, as an administrator does.
func (k *KMS) SetState(name string, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, err := k.find(name); err == nil {
		v.meta.State = state
	}
}

// find returns a version. The lock is held.
func (k *KMS) find(name string) (*version, error) {
	parts := versionPath.FindStringSubmatch(name)
	if parts == nil {
		return nil, refuse(codes.InvalidArgument, "The name %q is no CryptoKeyVersion.", name)
	}
	c := k.keys[parts[1]]
	n, err := strconv.Atoi(parts[2])
	if c == nil || err != nil || n > len(c.versions) {
		return nil, refuse(codes.NotFound, "CryptoKeyVersion %s not found.", name)
	}
	return c.versions[n-1], nil
}

// GetCryptoKey describes a key.
func (k *KMS) GetCryptoKey(_ context.Context, in *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !keyPath.MatchString(in.GetName()) {
		return nil, refuse(codes.InvalidArgument, "The name %q is no CryptoKey.", in.GetName())
	}
	if c := k.keys[in.GetName()]; c != nil {
		return proto.CloneOf(c.meta), nil
	}
	return nil, refuse(codes.NotFound, "CryptoKey %s not found.", in.GetName())
}

// GetCryptoKeyVersion describes a version.
func (k *KMS) GetCryptoKeyVersion(_ context.Context, in *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, err := k.find(in.GetName())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(v.meta), nil
}

// DestroyCryptoKeyVersion schedules a version for destruction.
func (k *KMS) DestroyCryptoKeyVersion(_ context.Context, in *kmspb.DestroyCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, err := k.find(in.GetName())
	if err != nil {
		return nil, err
	}
	switch v.meta.GetState() {
	case kmspb.CryptoKeyVersion_ENABLED, kmspb.CryptoKeyVersion_DISABLED:
	default:
		return nil, notEnabled(v)
	}
	wait := usualDestroy
	if d := v.key.meta.GetDestroyScheduledDuration(); d != nil {
		wait = d.AsDuration()
	}
	v.meta.State, v.meta.DestroyTime = kmspb.CryptoKeyVersion_DESTROY_SCHEDULED, timestamppb.New(time.Now().Add(wait))
	return proto.CloneOf(v.meta), nil
}

func notEnabled(v *version) error {
	return refuse(codes.FailedPrecondition, "%s is not enabled, current state is: %s.", v.meta.GetName(), v.meta.GetState())
}

// GetPublicKey shows the public half of a version.
func (k *KMS) GetPublicKey(_ context.Context, in *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_ASYMMETRIC_SIGN, kmspb.CryptoKey_ASYMMETRIC_DECRYPT)
	if err != nil {
		return nil, err
	}
	if private, ok := v.material.(*mldsa.PrivateKey); ok {
		if in.GetPublicKeyFormat() != kmspb.PublicKey_NIST_PQC {
			return nil, refuse(codes.InvalidArgument, "The public key format NIST_PQC is required for the algorithm %s.", v.meta.GetAlgorithm())
		}
		value := private.PublicKey().Bytes()
		return &kmspb.PublicKey{
			Name: in.GetName(), Algorithm: v.meta.GetAlgorithm(), ProtectionLevel: v.meta.GetProtectionLevel(),
			PublicKeyFormat: kmspb.PublicKey_NIST_PQC, PublicKey: &kmspb.ChecksummedData{Data: value, Crc32CChecksum: sum(value)},
		}, nil
	}
	if in.GetPublicKeyFormat() != kmspb.PublicKey_PUBLIC_KEY_FORMAT_UNSPECIFIED {
		return nil, refuse(codes.InvalidArgument, "The fake has no other format than PEM for the algorithm %s.", v.meta.GetAlgorithm())
	}
	text, err := publicPEM(v.material)
	if err != nil {
		return nil, err
	}
	return &kmspb.PublicKey{
		Name: in.GetName(), Pem: text, PemCrc32C: sum([]byte(text)), Algorithm: v.meta.GetAlgorithm(),
		ProtectionLevel: v.meta.GetProtectionLevel(), PublicKeyFormat: kmspb.PublicKey_PEM,
	}, nil
}

func publicPEM(private any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
	if err != nil {
		return "", refuse(codes.Internal, "%v", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// usable returns a copy of a version that is enabled and of one of some purposes.
func (k *KMS) usable(name string, purposes ...kmspb.CryptoKey_CryptoKeyPurpose) (version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, err := k.find(name)
	if err != nil {
		return version{}, err
	}
	if v.meta.GetState() != kmspb.CryptoKeyVersion_ENABLED {
		return version{}, notEnabled(v)
	}
	if !slices.Contains(purposes, v.key.meta.GetPurpose()) {
		return version{}, refuse(codes.FailedPrecondition, "The key's purpose is %s; this needs %s.", v.key.meta.GetPurpose(), purposes)
	}
	return version{meta: proto.CloneOf(v.meta), key: v.key, material: v.material}, nil
}
