package kmip

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Sign signs or computes a MAC.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	const operation = "sign"
	if err := k.ready(ctx, "signing", m, cryptoki.CKF_SIGN, len(data)); err != nil {
		return nil, k.explain(operation, err)
	}
	var out []byte
	var err error
	switch k.parsed.KeyType {
	case cryptoki.CKK_GENERIC_SECRET:
		out, err = k.mac(ctx, m, data)
	case cryptoki.CKK_EC:
		out, err = k.signEC(ctx, data)
	default:
		out, err = k.signRSA(ctx, m, data)
	}
	return out, k.explain(operation, err)
}

func (k *key) mac(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	var algorithm uint32
	for _, h := range hashes {
		if h.mac == m.Type {
			algorithm = h.macAlgorithm
		}
	}
	payload, err := k.provider.call(ctx, ttlv.OpMAC, uid(k.parsed.ID),
		ttlv.Structure(ttlv.TagCryptographicParameters, ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, algorithm)), ttlv.ByteString(ttlv.TagData, data))
	if err != nil {
		return nil, err
	}
	mac, _ := payload.ByteValue(ttlv.TagMACData)
	info, _ := mechanism.Lookup(m.Type)
	if len(mac) != info.Hash.Size() {
		return nil, strangeLength("MAC", len(mac), info.Hash.Size())
	}
	return mac, nil
}

func strangeLength(what string, got, want int) error {
	return fault.New(fault.DeviceError, "the KMIP server gave a %s of %d bytes, not %d", what, got, want)
}

// hashNumber is KMIP's number of a hash.
func hashNumber(digest cryptoki.MechanismType) uint32 {
	for _, h := range hashes {
		if h.digest == digest {
			return h.hash
		}
	}
	return 0
}

// masks are KMIP's numbers of the hashes of mask generation functions.
var masks = map[uint64]uint32{
	cryptoki.CKG_MGF1_SHA1: ttlv.HashSha1, cryptoki.CKG_MGF1_SHA224: ttlv.HashSha224, cryptoki.CKG_MGF1_SHA256: ttlv.HashSha256,
	cryptoki.CKG_MGF1_SHA384: ttlv.HashSha384, cryptoki.CKG_MGF1_SHA512: ttlv.HashSha512,
	cryptoki.CKG_MGF1_SHA3_224: ttlv.HashSha3224, cryptoki.CKG_MGF1_SHA3_256: ttlv.HashSha3256,
	cryptoki.CKG_MGF1_SHA3_384: ttlv.HashSha3384, cryptoki.CKG_MGF1_SHA3_512: ttlv.HashSha3512,
}

func maskNumber(mgf uint64) (uint32, error) {
	mask, ok := masks[mgf]
	if !ok {
		return 0, fault.New(fault.MechanismParamInvalid, "KMIP has no name for the hash of the mask %d; use MGF1 with SHA-1, SHA-2 or SHA-3", mgf)
	}
	return mask, nil
}

func (k *key) signRSA(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	size := (k.object.length + 7) / 8
	parameters := ttlv.Structure(ttlv.TagCryptographicParameters)
	pss, isPSS := m.Params.(cryptoki.PSSParams)
	if isPSS {
		hash, _ := mechanism.HashOf(pss.Hash)
		if len(data) != hash.Size() {
			return nil, fault.New(fault.DataLenRange, "CKM_RSA_PKCS_PSS with %s signs %d bytes, not %d", pss.Hash, hash.Size(), len(data))
		}
		if room := (k.object.length-1+7)/8 - hash.Size() - 2; room < 0 || pss.SaltLength > uint64(room) {
			return nil, fault.New(fault.MechanismParamInvalid, "a salt of %d bytes does not fit into an RSA key of %d bits", pss.SaltLength, k.object.length)
		}
		mask, err := maskNumber(pss.MGF)
		if err != nil {
			return nil, err
		}
		parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagPaddingMethod, ttlv.PaddingPss),
			ttlv.Enumeration(ttlv.TagHashingAlgorithm, hashNumber(pss.Hash)), ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmRsa),
			ttlv.Integer(ttlv.TagSaltLength, int32(pss.SaltLength)), ttlv.Enumeration(ttlv.TagMaskGenerator, ttlv.MaskGeneratorMGF1),
			ttlv.Enumeration(ttlv.TagMaskGeneratorHashingAlgorithm, mask))
	} else {
		if len(data) > size-11 {
			return nil, fault.New(fault.DataLenRange, "CKM_RSA_PKCS signs at most %d bytes here, not %d", size-11, len(data))
		}
		digest, value, err := signature.Strip(data)
		if err == nil && hashNumber(digest) == 0 {
			err = fault.New(fault.DataInvalid, "KMIP signs no digest of %s with RSA", digest)
		}
		if err != nil {
			return nil, err
		}
		data = value
		parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagPaddingMethod, ttlv.PaddingPkcs1v15),
			ttlv.Enumeration(ttlv.TagHashingAlgorithm, hashNumber(digest)), ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmRsa))
	}
	out, err := k.signDigest(ctx, parameters, data)
	if err == nil && len(out) != size {
		err = strangeLength("signature", len(out), size)
	}
	return out, err
}

// curveHashes are the hashes as long as the orders of the curves, but for P-521, which is longer than any.
var curveHashes = map[int]cryptoki.MechanismType{256: cryptoki.CKM_SHA256, 384: cryptoki.CKM_SHA384, 521: cryptoki.CKM_SHA512}

func (k *key) signEC(ctx context.Context, data []byte) ([]byte, error) {
	digest, ok := curveHashes[k.object.length]
	if !ok {
		return nil, fault.New(fault.CurveNotSupported, "the KMIP server's key has %d bits; AnyHSM uses 256, 384 and 521", k.object.length)
	}
	hash, _ := mechanism.HashOf(digest)
	fitted, err := signature.Fit(data, hash.Size(), k.object.length)
	if err != nil {
		return nil, err
	}
	out, err := k.signDigest(ctx, ttlv.Structure(ttlv.TagCryptographicParameters,
		ttlv.Enumeration(ttlv.TagHashingAlgorithm, hashNumber(digest)), ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmEcdsa)), fitted)
	if err != nil {
		return nil, err
	}
	length := (k.object.length + 7) / 8
	raw, err := signature.FromDER(out, length)
	if err != nil && len(out) == 2*length {
		// The standard says DER since 1.4; some servers give r‖s.
		return out, nil
	}
	return raw, err
}

// signDigest signs what is hashed already.
func (k *key) signDigest(ctx context.Context, parameters ttlv.Item, digest []byte) ([]byte, error) {
	payload, err := k.provider.call(ctx, ttlv.OpSign, uid(k.parsed.ID), parameters, ttlv.ByteString(ttlv.TagDigestedData, digest))
	if err != nil {
		return nil, err
	}
	out, _ := payload.ByteValue(ttlv.TagSignatureData)
	return out, nil
}
