package kmip

import (
	"context"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// server is what the server says of itself, and what is known of its kind.
type server struct {
	vendor     string
	operations map[uint32]bool
	quirks     quirks
}

// quirks are what servers of a kind do not do although they say so, found by trying. Query cannot tell it.
type quirks struct {
	// vendor is how the vendor identification begins.
	vendor string
	// noPairs: private keys cannot be used with a ready digest, or not at all.
	noPairs bool
	// noExtractable: the attribute Extractable is refused.
	noExtractable bool
	// padsAlways: AES in CBC and ECB is always padded.
	padsAlways bool
	// maxData is the largest input of one operation, where it is smaller than others'.
	maxData int
}

var allQuirks = []quirks{
	// 0.10.0. Its Sign hashes the data itself and has no Digested Data; its Decrypt takes symmetric keys only. The time
	// that it takes grows with the square of the length: a second for 100 KB, in which nobody else is served.
	{vendor: "PyKMIP", noPairs: true, noExtractable: true, padsAlways: true, maxData: 16 << 10},
}

// maxData is the largest input of one operation: a message of 1 MiB is the most that some servers read, and padding and
// headers need room.
const maxData = 1<<20 - 1<<14

// examine asks for versions, operations and the vendor.
func (p *Provider) examine(ctx context.Context) error {
	payload, err := p.call(ctx, ttlv.OpDiscoverVersions)
	if err != nil {
		return err
	}
	var has []string
	for _, item := range payload.All(ttlv.TagProtocolVersion) {
		has = append(has, versionOf(item).String())
	}
	if len(has) > 0 && !slices.Contains(has, p.config.Protocol) {
		return fault.New(fault.DeviceError, "the KMIP server speaks the versions %s, not %s; choose another `protocol`", strings.Join(has, ", "), p.config.Protocol)
	}
	payload, err = p.call(ctx, ttlv.OpQuery, ttlv.Enumeration(ttlv.TagQueryFunction, ttlv.QueryOperations),
		ttlv.Enumeration(ttlv.TagQueryFunction, ttlv.QueryServerInformation))
	if err != nil {
		return err
	}
	p.server = server{vendor: payload.Text(ttlv.TagVendorIdentification), operations: map[uint32]bool{}}
	for _, item := range payload.All(ttlv.TagOperation) {
		p.server.operations[uint32(item.Number)] = true
	}
	for _, q := range allQuirks {
		if strings.HasPrefix(p.server.vendor, q.vendor) {
			p.server.quirks = q
		}
	}
	var missing []string
	for _, operation := range []uint32{ttlv.OpLocate, ttlv.OpGetAttributes, ttlv.OpGet, ttlv.OpRegister, ttlv.OpActivate, ttlv.OpRevoke, ttlv.OpDestroy} {
		if !p.server.operations[operation] {
			missing = append(missing, nameOf(operation))
		}
	}
	if len(missing) > 0 {
		return fault.New(fault.FunctionNotSupported, "the KMIP server %q lacks %s for our user; allow it at the server", p.server.vendor, strings.Join(missing, ", "))
	}
	return nil
}

// hashes are the hashes that KMIP names, as PKCS#11 and KMIP do.
var hashes = []struct {
	digest, mac        cryptoki.MechanismType
	hash, macAlgorithm uint32
}{
	{digest: cryptoki.CKM_SHA_1, mac: cryptoki.CKM_SHA_1_HMAC, hash: ttlv.HashSha1, macAlgorithm: ttlv.AlgorithmHmacSha1},
	{digest: cryptoki.CKM_SHA224, mac: cryptoki.CKM_SHA224_HMAC, hash: ttlv.HashSha224, macAlgorithm: ttlv.AlgorithmHmacSha224},
	{digest: cryptoki.CKM_SHA256, mac: cryptoki.CKM_SHA256_HMAC, hash: ttlv.HashSha256, macAlgorithm: ttlv.AlgorithmHmacSha256},
	{digest: cryptoki.CKM_SHA384, mac: cryptoki.CKM_SHA384_HMAC, hash: ttlv.HashSha384, macAlgorithm: ttlv.AlgorithmHmacSha384},
	{digest: cryptoki.CKM_SHA512, mac: cryptoki.CKM_SHA512_HMAC, hash: ttlv.HashSha512, macAlgorithm: ttlv.AlgorithmHmacSha512},
}

// digests are the digest mechanisms that KMIP names.
func digests() []cryptoki.MechanismType {
	var all []cryptoki.MechanismType
	for _, h := range hashes {
		all = append(all, h.digest)
	}
	return all
}

// curves are the curves, as KMIP names them.
var curves = map[string]uint32{"P-256": ttlv.CurveP256, "P-384": ttlv.CurveP384, "P-521": ttlv.CurveP521}

const curveFlags = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_OID | cryptoki.CKF_EC_UNCOMPRESS

// capabilities computes what a server's tokens offer.
func (s server) capabilities() provider.Capabilities {
	c := provider.Capabilities{Kind: "kmip", Keeps: true, MaxData: maxData}
	if s.quirks.maxData != 0 {
		c.MaxData = s.quirks.maxData
	}
	add := func(t cryptoki.MechanismType, least, most uint64, flags cryptoki.Flags) *provider.Mechanism {
		c.Mechanisms = append(c.Mechanisms, provider.Mechanism{Type: t, MinSize: least, MaxSize: most, Flags: flags})
		return &c.Mechanisms[len(c.Mechanisms)-1]
	}
	can := func(operation uint32, flag cryptoki.Flags) cryptoki.Flags {
		if s.operations[operation] {
			return flag
		}
		return 0
	}
	if sign, decrypt := can(ttlv.OpSign, cryptoki.CKF_SIGN), can(ttlv.OpDecrypt, cryptoki.CKF_DECRYPT); !s.quirks.noPairs && s.operations[ttlv.OpCreateKeyPair] && sign|decrypt != 0 {
		add(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, 2048, 4096, cryptoki.CKF_GENERATE_KEY_PAIR).Sizes = []uint64{2048, 3072, 4096}
		add(cryptoki.CKM_RSA_PKCS, 2048, 4096, sign|decrypt).DigestInfo = digests()
		if sign != 0 {
			add(cryptoki.CKM_RSA_PKCS_PSS, 2048, 4096, sign).Hashes = digests()
		}
		if decrypt != 0 {
			add(cryptoki.CKM_RSA_PKCS_OAEP, 2048, 4096, decrypt).Hashes = digests()
		}
		if sign != 0 {
			add(cryptoki.CKM_EC_KEY_PAIR_GEN, 256, 521, cryptoki.CKF_GENERATE_KEY_PAIR|curveFlags)
			add(cryptoki.CKM_ECDSA, 256, 521, sign|curveFlags).HashSized = true
			for _, on := range curve.All() {
				if _, ok := curves[on.Name]; ok {
					c.Curves = append(c.Curves, on.Params)
				}
			}
		}
	}
	if both := can(ttlv.OpEncrypt, cryptoki.CKF_ENCRYPT) | can(ttlv.OpDecrypt, cryptoki.CKF_DECRYPT); s.operations[ttlv.OpCreate] && both == cryptoki.CKF_ENCRYPT|cryptoki.CKF_DECRYPT {
		add(cryptoki.CKM_AES_KEY_GEN, 16, 32, cryptoki.CKF_GENERATE)
		for _, t := range []cryptoki.MechanismType{
			cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_CTR, cryptoki.CKM_AES_GCM,
		} {
			add(t, 16, 32, both)
		}
	}
	if s.operations[ttlv.OpMAC] {
		add(cryptoki.CKM_GENERIC_SECRET_KEY_GEN, 8, 4096, cryptoki.CKF_GENERATE)
		for _, h := range hashes {
			add(h.mac, 8, 4096, cryptoki.CKF_SIGN|cryptoki.CKF_VERIFY)
		}
	}
	return c
}
