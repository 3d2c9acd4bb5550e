package awsfake

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
)

// key is a KMS key. Its fields but material never change; material and state are guarded by the service's lock.
type key struct {
	id, spec, usage, origin, description string
	made                                 time.Time
	tags                                 []tag

	state   string
	deleted time.Time
	private crypto.Signer
	secret  []byte
}

type tag struct{ TagKey, TagValue string }

// kinds are the key specs, with the usages that each can be made for. SYMMETRIC_DEFAULT is there because accounts are
// full of them; the fake does not encrypt with it.
var kinds = map[string][]string{
	"RSA_2048": {"SIGN_VERIFY", "ENCRYPT_DECRYPT"}, "RSA_3072": {"SIGN_VERIFY", "ENCRYPT_DECRYPT"}, "RSA_4096": {"SIGN_VERIFY", "ENCRYPT_DECRYPT"},
	"ECC_NIST_P256": {"SIGN_VERIFY", "KEY_AGREEMENT"}, "ECC_NIST_P384": {"SIGN_VERIFY", "KEY_AGREEMENT"}, "ECC_NIST_P521": {"SIGN_VERIFY", "KEY_AGREEMENT"},
	"ECC_NIST_EDWARDS25519": {"SIGN_VERIFY"}, "SYMMETRIC_DEFAULT": {"ENCRYPT_DECRYPT"},
	"ML_DSA_44": {"SIGN_VERIFY"}, "ML_DSA_65": {"SIGN_VERIFY"}, "ML_DSA_87": {"SIGN_VERIFY"},
	"HMAC_224": {"GENERATE_VERIFY_MAC"}, "HMAC_256": {"GENERATE_VERIFY_MAC"}, "HMAC_384": {"GENERATE_VERIFY_MAC"}, "HMAC_512": {"GENERATE_VERIFY_MAC"},
}

var secretLength = map[string]int{"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64, "SYMMETRIC_DEFAULT": 32}

var (
	curveOf = map[string]elliptic.Curve{"ECC_NIST_P256": elliptic.P256(), "ECC_NIST_P384": elliptic.P384(), "ECC_NIST_P521": elliptic.P521()}
	bitsOf  = map[string]int{"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
	setOf   = map[string]mldsa.Parameters{"ML_DSA_44": mldsa.MLDSA44(), "ML_DSA_65": mldsa.MLDSA65(), "ML_DSA_87": mldsa.MLDSA87()}
)

// signing, encryption and macs are the algorithms of a key.
func (k *key) signing() []string {
	switch {
	case k.usage != "SIGN_VERIFY":
		return nil
	case bitsOf[k.spec] > 0:
		return []string{
			"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
			"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
		}
	case k.spec == "ECC_NIST_P256":
		return []string{"ECDSA_SHA_256"}
	case k.spec == "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	case k.spec == "ECC_NIST_P521":
		return []string{"ECDSA_SHA_512"}
	}
	if k.lattice() {
		return []string{"ML_DSA_SHAKE_256"}
	}
	return []string{"ED25519_SHA_512", "ED25519_PH_SHA_512"}
}

func (k *key) encryption() []string {
	switch {
	case k.usage != "ENCRYPT_DECRYPT":
		return nil
	case k.spec == "SYMMETRIC_DEFAULT":
		return []string{"SYMMETRIC_DEFAULT"}
	}
	return []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}
}

func (k *key) macs() []string {
	if k.usage != "GENERATE_VERIFY_MAC" {
		return nil
	}
	return []string{strings.Replace(k.spec, "HMAC_", "HMAC_SHA_", 1)}
}

func (k *key) agreement() []string {
	if k.usage != "KEY_AGREEMENT" {
		return nil
	}
	return []string{"ECDH"}
}

// lattice tells that it is an ML-DSA key.
func (k *key) lattice() bool { return strings.HasPrefix(k.spec, "ML_DSA_") }

// fill makes the key material.
func (k *key) fill() error {
	var err error
	switch {
	case bitsOf[k.spec] > 0:
		k.private, err = rsa.GenerateKey(rand.Reader, bitsOf[k.spec])
	case curveOf[k.spec] != nil:
		k.private, err = ecdsa.GenerateKey(curveOf[k.spec], rand.Reader)
	case k.spec == "ECC_NIST_EDWARDS25519":
		_, private, failure := ed25519.GenerateKey(rand.Reader)
		k.private, err = private, failure
	case k.lattice():
		k.private, err = mldsa.GenerateKey(setOf[k.spec])
	default:
		k.secret = make([]byte, secretLength[k.spec])
		rand.Read(k.secret)
	}
	return err
}

func (k *key) spki() ([]byte, error) { return mldsax509.MarshalPKIXPublicKey(k.private.Public()) }

// metadata is KeyMetadata.
type metadata struct {
	AWSAccountId, KeyId, Arn, Description, KeyUsage, KeyState, Origin, KeyManager string
	KeySpec, CustomerMasterKeySpec                                                string
	CreationDate                                                                  float64
	DeletionDate                                                                  float64  `json:",omitempty"`
	ExpirationModel                                                               string   `json:",omitempty"`
	SigningAlgorithms                                                             []string `json:",omitempty"`
	EncryptionAlgorithms                                                          []string `json:",omitempty"`
	MacAlgorithms                                                                 []string `json:",omitempty"`
	KeyAgreementAlgorithms                                                        []string `json:",omitempty"`
	Enabled, MultiRegion                                                          bool
}

func (k *KMS) arn(id string) string { return "arn:aws:kms:" + k.Region + ":" + Account + ":key/" + id }

func (k *KMS) metadata(key *key) metadata {
	m := metadata{
		AWSAccountId: Account, KeyId: key.id, Arn: k.arn(key.id), Description: key.description, KeyUsage: key.usage, KeyState: key.state,
		Origin: key.origin, KeyManager: "CUSTOMER", KeySpec: key.spec, CustomerMasterKeySpec: key.spec,
		CreationDate: float64(key.made.UnixMilli()) / 1000, Enabled: key.state == "Enabled",
		SigningAlgorithms: key.signing(), EncryptionAlgorithms: key.encryption(), MacAlgorithms: key.macs(), KeyAgreementAlgorithms: key.agreement(),
	}
	if key.state == "PendingDeletion" {
		m.DeletionDate = float64(key.deleted.Unix())
	}
	if key.origin == "EXTERNAL" && key.state != "PendingImport" {
		m.ExpirationModel = "KEY_MATERIAL_DOES_NOT_EXPIRE"
	}
	return m
}

var (
	keyID     = regexp.MustCompile(`^(mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$`)
	aliasName = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]+$`)
	tagText   = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// find returns a key by id, ARN, alias or alias ARN. The lock is held.
func (k *KMS) find(name string, alias bool) (*key, error) {
	if name == "" || len(name) > 2048 {
		return nil, invalid("Value at 'keyId' failed to satisfy constraint: Member must have length between 1 and 2048")
	}
	id := name
	if strings.HasPrefix(name, "arn:") {
		prefix := "arn:aws:kms:" + k.Region + ":" + Account + ":"
		rest, ok := strings.CutPrefix(name, prefix)
		switch {
		case !ok && strings.Count(name, ":") != 5:
			return nil, refuse("InvalidArnException", "Invalid arn %s", name)
		case !ok && !strings.HasPrefix(name, "arn:aws:kms:"+k.Region+":"):
			return nil, refuse("NotFoundException", "Invalid arn %s", strings.Split(name, ":")[3])
		case !ok:
			return nil, &refusal{400, "AccessDeniedException", "User: arn:aws:iam::" + Account + ":user/test is not authorized to perform: kms:DescribeKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"}
		}
		id = strings.TrimPrefix(rest, "key/")
	}
	if strings.HasPrefix(id, "alias/") {
		if !alias {
			return nil, refuse("InvalidArnException", "an alias is no key id here: %s", name)
		}
		target, ok := k.aliases[id]
		if !ok {
			return nil, refuse("NotFoundException", "Alias arn:aws:kms:%s:%s:%s is not found.", k.Region, Account, id)
		}
		return k.keys[target], nil
	}
	if !keyID.MatchString(id) {
		return nil, refuse("NotFoundException", "Invalid keyId '%s'", id)
	}
	found, ok := k.keys[id]
	if !ok {
		return nil, refuse("NotFoundException", "Key '%s' does not exist", k.arn(id))
	}
	return found, nil
}

// ready checks that a key is in a state to be used. The lock is held.
func (k *KMS) ready(key *key) error {
	switch key.state {
	case "Enabled":
		return nil
	case "Disabled":
		return refuse("DisabledException", "%s is disabled.", k.arn(key.id))
	case "PendingDeletion":
		return refuse("KMSInvalidStateException", "%s is pending deletion.", k.arn(key.id))
	case "PendingImport":
		return refuse("KMSInvalidStateException", "%s is pending import.", k.arn(key.id))
	}
	return refuse("KMSInvalidStateException", "%s is unavailable.", k.arn(key.id))
}

type createKeyInput struct {
	KeySpec, CustomerMasterKeySpec, KeyUsage, Origin, Description, Policy string
	Tags                                                                  []tag
	MultiRegion, BypassPolicyLockoutSafetyCheck                           bool
}

type keyOutput struct{ KeyMetadata metadata }

func (k *KMS) createKey(in createKeyInput) (keyOutput, error) {
	if in.KeySpec == "" {
		in.KeySpec = in.CustomerMasterKeySpec
	}
	if in.KeySpec == "" {
		in.KeySpec = "SYMMETRIC_DEFAULT"
	}
	usages, ok := kinds[in.KeySpec]
	if in.KeyUsage == "" && in.KeySpec == "SYMMETRIC_DEFAULT" {
		in.KeyUsage = "ENCRYPT_DECRYPT"
	}
	switch {
	case !ok:
		return keyOutput{}, invalid("Value '%s' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set", in.KeySpec)
	case in.KeyUsage == "":
		return keyOutput{}, invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case !slices.Contains(usages, in.KeyUsage):
		return keyOutput{}, invalid("KeyUsage %s is not compatible with KeySpec %s", in.KeyUsage, in.KeySpec)
	case in.Origin != "" && in.Origin != "AWS_KMS" && in.Origin != "EXTERNAL":
		return keyOutput{}, refuse("UnsupportedOperationException", "Origin %s", in.Origin)
	case len(in.Description) > 8192:
		return keyOutput{}, invalid("Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192")
	}
	if err := checkTags(in.Tags); err != nil {
		return keyOutput{}, err
	}
	made := &key{id: identifier(), spec: in.KeySpec, usage: in.KeyUsage, origin: in.Origin, description: in.Description, tags: in.Tags, made: k.now(), state: "Enabled"}
	if made.origin == "" {
		made.origin = "AWS_KMS"
	}
	if made.origin == "EXTERNAL" {
		made.state = "PendingImport"
	} else if err := made.fill(); err != nil {
		return keyOutput{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[made.id] = made
	// The listing's order is the ids', which is not the order of creation.
	at, _ := slices.BinarySearch(k.order, made.id)
	k.order = slices.Insert(k.order, at, made.id)
	return keyOutput{k.metadata(made)}, nil
}

func checkTags(tags []tag) error {
	if len(tags) > 50 {
		return refuse("LimitExceededException", "too many tags")
	}
	seen := map[string]bool{}
	for _, t := range tags {
		if t.TagKey == "" || len(t.TagKey) > 128 || len(t.TagValue) > 256 || strings.HasPrefix(t.TagKey, "aws:") ||
			!tagText.MatchString(t.TagKey) || !tagText.MatchString(t.TagValue) || seen[t.TagKey] {
			return refuse("TagException", "the tag %q is not valid", t.TagKey)
		}
		seen[t.TagKey] = true
	}
	return nil
}

type keyInput struct {
	KeyId       string
	GrantTokens []string
}

func (k *KMS) describeKey(in keyInput) (keyOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, true)
	if err != nil {
		return keyOutput{}, err
	}
	return keyOutput{k.metadata(found)}, nil
}

type publicKeyOutput struct {
	KeyId, KeySpec, CustomerMasterKeySpec, KeyUsage string
	PublicKey                                       []byte
	SigningAlgorithms                               []string `json:",omitempty"`
	EncryptionAlgorithms                            []string `json:",omitempty"`
	KeyAgreementAlgorithms                          []string `json:",omitempty"`
}

func (k *KMS) getPublicKey(in keyInput) (publicKeyOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, true)
	if err != nil {
		return publicKeyOutput{}, err
	}
	if err := k.ready(found); err != nil {
		return publicKeyOutput{}, err
	}
	if found.private == nil {
		return publicKeyOutput{}, refuse("UnsupportedOperationException", "%s is not an asymmetric key", k.arn(found.id))
	}
	der, err := found.spki()
	return publicKeyOutput{
		KeyId: k.arn(found.id), KeySpec: found.spec, CustomerMasterKeySpec: found.spec, KeyUsage: found.usage, PublicKey: der,
		SigningAlgorithms: found.signing(), EncryptionAlgorithms: found.encryption(), KeyAgreementAlgorithms: found.agreement(),
	}, err
}

type scheduleInput struct {
	KeyId               string
	PendingWindowInDays *int
}

type scheduleOutput struct {
	KeyId, KeyState     string
	DeletionDate        float64 `json:",omitempty"`
	PendingWindowInDays int     `json:",omitempty"`
}

func (k *KMS) scheduleKeyDeletion(in scheduleInput) (scheduleOutput, error) {
	days := 30
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < 7 || days > 30 {
		return scheduleOutput{}, invalid("PendingWindowInDays must be between 7 and 30 (inclusive)")
	}
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return scheduleOutput{}, err
	}
	if found.state == "PendingDeletion" {
		return scheduleOutput{}, k.ready(found)
	}
	found.state, found.deleted = "PendingDeletion", now.AddDate(0, 0, days)
	return scheduleOutput{k.arn(found.id), found.state, float64(found.deleted.Unix()), days}, nil
}

func (k *KMS) cancelKeyDeletion(in keyInput) (scheduleOutput, error) {
	return k.turn(in, "PendingDeletion", "Disabled")
}

func (k *KMS) enableKey(in keyInput) (scheduleOutput, error) {
	return k.turn(in, "Disabled", "Enabled")
}

func (k *KMS) disableKey(in keyInput) (scheduleOutput, error) {
	return k.turn(in, "Enabled", "Disabled")
}

// turn brings a key from one state to another.
func (k *KMS) turn(in keyInput, from, to string) (scheduleOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return scheduleOutput{}, err
	}
	switch found.state {
	case from:
		found.state = to
	case to:
	default:
		return scheduleOutput{}, refuse("KMSInvalidStateException", "%s is not in state %s.", k.arn(found.id), from)
	}
	return scheduleOutput{KeyId: k.arn(found.id), KeyState: to}, nil
}

// Living returns how many keys are billed: all that are not pending deletion.
func (k *KMS) Living() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.state != "PendingDeletion" {
			n++
		}
	}
	return n
}

// Add makes a key as somebody else would, and returns its id.
func (k *KMS) Add(spec, usage string) string {
	return must(k.createKey(createKeyInput{KeySpec: spec, KeyUsage: usage})).KeyMetadata.KeyId
}

// ARN returns a key's ARN.
func (k *KMS) ARN(id string) string { return k.arn(id) }

// Name gives a key an alias, without "alias/".
func (k *KMS) Name(alias, id string) {
	must(k.createAlias(aliasInput{AliasName: "alias/" + alias, TargetKeyId: id}))
}

// Disable turns a key off.
func (k *KMS) Disable(id string) { must(k.disableKey(keyInput{KeyId: id})) }

// Schedule schedules a key for deletion, as somebody else would.
func (k *KMS) Schedule(id string) { must(k.scheduleKeyDeletion(scheduleInput{KeyId: id})) }

// Remove lets a key's waiting period end at once.
func (k *KMS) Remove(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, id)
	k.order = slices.DeleteFunc(k.order, func(other string) bool { return other == id })
}
