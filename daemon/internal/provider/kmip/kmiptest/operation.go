package kmiptest

import (
	"crypto/rand"
	"crypto/x509"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// operations are those that Query tells, with the items that their payloads may have.
var operations = map[uint32][]ttlv.Tag{
	ttlv.OpCreate:           {ttlv.TagObjectType, ttlv.TagAttributes},
	ttlv.OpCreateKeyPair:    {ttlv.TagCommonAttributes, ttlv.TagPrivateKeyAttributes, ttlv.TagPublicKeyAttributes},
	ttlv.OpRegister:         {ttlv.TagObjectType, ttlv.TagAttributes, ttlv.TagSymmetricKey, ttlv.TagPrivateKey, ttlv.TagPublicKey},
	ttlv.OpLocate:           {ttlv.TagMaximumItems, ttlv.TagOffsetItems, ttlv.TagAttributes},
	ttlv.OpGet:              {ttlv.TagUniqueIdentifier},
	ttlv.OpGetAttributes:    {ttlv.TagUniqueIdentifier},
	ttlv.OpActivate:         {ttlv.TagUniqueIdentifier},
	ttlv.OpRevoke:           {ttlv.TagUniqueIdentifier, ttlv.TagRevocationReason},
	ttlv.OpDestroy:          {ttlv.TagUniqueIdentifier},
	ttlv.OpQuery:            {ttlv.TagQueryFunction},
	ttlv.OpDiscoverVersions: {ttlv.TagProtocolVersion},
	ttlv.OpEncrypt:          {ttlv.TagUniqueIdentifier, ttlv.TagCryptographicParameters, ttlv.TagData, ttlv.TagIVCounterNonce, ttlv.TagAuthenticatedEncryptionAdditionalData},
	ttlv.OpDecrypt:          {ttlv.TagUniqueIdentifier, ttlv.TagCryptographicParameters, ttlv.TagData, ttlv.TagIVCounterNonce, ttlv.TagAuthenticatedEncryptionAdditionalData, ttlv.TagAuthenticatedEncryptionTag},
	ttlv.OpSign:             {ttlv.TagUniqueIdentifier, ttlv.TagCryptographicParameters, ttlv.TagData, ttlv.TagDigestedData},
	ttlv.OpMAC:              {ttlv.TagUniqueIdentifier, ttlv.TagCryptographicParameters, ttlv.TagData},
	ttlv.OpRngRetrieve:      {ttlv.TagDataLength},
}

func (s *Server) perform(operation uint32, payload ttlv.Item) ([]ttlv.Item, error) {
	allowed, ok := operations[operation]
	if !ok {
		return nil, refuse(ttlv.ReasonOperationNotSupported, "operation 0x%x", operation)
	}
	for _, item := range payload.Items {
		if !slices.Contains(allowed, item.Tag) {
			return nil, refuse(ttlv.ReasonInvalidMessage, "item 0x%06x does not belong here", uint32(item.Tag))
		}
	}
	switch operation {
	case ttlv.OpCreate:
		return s.create(payload)
	case ttlv.OpCreateKeyPair:
		return s.createPair(payload)
	case ttlv.OpRegister:
		return s.register(payload)
	case ttlv.OpLocate:
		return s.locate(payload)
	case ttlv.OpDiscoverVersions:
		var items []ttlv.Item
		for _, minor := range []int32{1, 0} {
			items = append(items, ttlv.Structure(ttlv.TagProtocolVersion, ttlv.Integer(ttlv.TagProtocolVersionMajor, 2), ttlv.Integer(ttlv.TagProtocolVersionMinor, minor)))
		}
		return items, nil
	case ttlv.OpQuery:
		var items []ttlv.Item
		for number := range uint32(0x40) {
			if _, ok := operations[number]; ok {
				items = append(items, ttlv.Enumeration(ttlv.TagOperation, number))
			}
		}
		return append(items, ttlv.TextString(ttlv.TagVendorIdentification, "AnyHSM test server")), nil
	case ttlv.OpRngRetrieve:
		length, _ := payload.Value(ttlv.TagDataLength, ttlv.IntegerType)
		if length < 1 || length > 8192 {
			return nil, refuse(ttlv.ReasonInvalidField, "%d random bytes", length)
		}
		value := make([]byte, length)
		_, _ = rand.Read(value)
		return []ttlv.Item{ttlv.ByteString(ttlv.TagData, value)}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[payload.Text(ttlv.TagUniqueIdentifier)]
	if !ok {
		return nil, refuse(ttlv.ReasonObjectNotFound, "no such object")
	}
	items, err := o.perform(operation, payload)
	if operation == ttlv.OpGet {
		items = append([]ttlv.Item{ttlv.Enumeration(ttlv.TagObjectType, o.kind), ttlv.TextString(ttlv.TagUniqueIdentifier, o.id)}, items...)
		return items, err
	}
	return append([]ttlv.Item{ttlv.TextString(ttlv.TagUniqueIdentifier, o.id)}, items...), err
}

func (o *object) perform(operation uint32, payload ttlv.Item) ([]ttlv.Item, error) {
	if o.state == ttlv.StateDestroyed && operation != ttlv.OpGetAttributes {
		return nil, refuse(ttlv.ReasonObjectDestroyed, "the object is destroyed")
	}
	switch operation {
	case ttlv.OpGetAttributes:
		return []ttlv.Item{o.describe()}, nil
	case ttlv.OpGet:
		sensitive, _ := o.attributes.Value(ttlv.TagSensitive, ttlv.BooleanType)
		extractable, ok := o.attributes.Value(ttlv.TagExtractable, ttlv.BooleanType)
		if sensitive == 1 {
			return nil, refuse(ttlv.ReasonSensitive, "the object is sensitive")
		}
		if ok && extractable == 0 {
			return nil, refuse(ttlv.ReasonNotExtractable, "the object is not extractable")
		}
		algorithm, _ := o.attributes.Find(ttlv.TagCryptographicAlgorithm)
		length, _ := o.attributes.Find(ttlv.TagCryptographicLength)
		return []ttlv.Item{ttlv.Structure(objectTags[o.kind], ttlv.Structure(ttlv.TagKeyBlock, ttlv.Enumeration(ttlv.TagKeyFormatType, o.format),
			ttlv.Structure(ttlv.TagKeyValue, ttlv.ByteString(ttlv.TagKeyMaterial, o.value)), algorithm, length))}, nil
	case ttlv.OpActivate:
		if o.state != ttlv.StatePreActive {
			return nil, refuse(ttlv.ReasonWrongKeyLifecycleState, "state %d", o.state)
		}
		o.state = ttlv.StateActive
		return nil, nil
	case ttlv.OpRevoke:
		if o.state != ttlv.StateActive || payload.In(ttlv.TagRevocationReason).Enum(ttlv.TagRevocationReasonCode) == 0 {
			return nil, refuse(ttlv.ReasonWrongKeyLifecycleState, "state %d, or no reason", o.state)
		}
		o.state = ttlv.StateDeactivated
		return nil, nil
	case ttlv.OpDestroy:
		if o.state == ttlv.StateActive {
			return nil, refuse(ttlv.ReasonWrongKeyLifecycleState, "the object is active")
		}
		clear(o.value)
		o.state = ttlv.StateDestroyed
		return nil, nil
	}
	need := map[uint32]uint32{
		ttlv.OpSign: ttlv.UsageSign, ttlv.OpEncrypt: ttlv.UsageEncrypt, ttlv.OpDecrypt: ttlv.UsageDecrypt, ttlv.OpMAC: ttlv.UsageMAC,
	}[operation]
	if o.state != ttlv.StateActive {
		return nil, refuse(ttlv.ReasonWrongKeyLifecycleState, "state %d", o.state)
	}
	if uint32(o.number(ttlv.TagCryptographicUsageMask))&need == 0 {
		return nil, refuse(ttlv.ReasonIncompatibleCryptographicUsageMask, "the key is not for this")
	}
	return o.use(operation, payload)
}

// parsed is the key for Go's crypto.
func (o *object) parsed() (*softkey.Key, error) {
	if o.kind == ttlv.ObjectSymmetricKey {
		keyType := cryptoki.CKK_GENERIC_SECRET
		if o.attributes.Enum(ttlv.TagCryptographicAlgorithm) == ttlv.AlgorithmAes {
			keyType = cryptoki.CKK_AES
		}
		return softkey.FromAttributes(cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType), cryptoki.Bytes(cryptoki.CKA_VALUE, o.value),
		})
	}
	key, err := x509.ParsePKCS8PrivateKey(o.value)
	if err != nil {
		return nil, err
	}
	open, secret, err := softkey.PrivateAttributes(key)
	if err != nil {
		return nil, err
	}
	keyType := cryptoki.CKK_EC
	if o.attributes.Enum(ttlv.TagCryptographicAlgorithm) == ttlv.AlgorithmRsa {
		keyType = cryptoki.CKK_RSA
	}
	open.Set(cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY))
	open.Set(cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType))
	return softkey.FromAttributes(append(open, secret...))
}

// numbers of KMIP's hashes, as PKCS#11 names them.
var digests = map[uint32]cryptoki.MechanismType{
	ttlv.HashSha1: cryptoki.CKM_SHA_1, ttlv.HashSha224: cryptoki.CKM_SHA224, ttlv.HashSha256: cryptoki.CKM_SHA256,
	ttlv.HashSha384: cryptoki.CKM_SHA384, ttlv.HashSha512: cryptoki.CKM_SHA512,
}

var masks = map[uint32]uint64{
	ttlv.HashSha1: cryptoki.CKG_MGF1_SHA1, ttlv.HashSha224: cryptoki.CKG_MGF1_SHA224, ttlv.HashSha256: cryptoki.CKG_MGF1_SHA256,
	ttlv.HashSha384: cryptoki.CKG_MGF1_SHA384, ttlv.HashSha512: cryptoki.CKG_MGF1_SHA512,
	ttlv.HashSha3224: cryptoki.CKG_MGF1_SHA3_224, ttlv.HashSha3256: cryptoki.CKG_MGF1_SHA3_256,
	ttlv.HashSha3384: cryptoki.CKG_MGF1_SHA3_384, ttlv.HashSha3512: cryptoki.CKG_MGF1_SHA3_512,
}

var macs = map[uint32]cryptoki.MechanismType{
	ttlv.AlgorithmHmacSha1: cryptoki.CKM_SHA_1_HMAC, ttlv.AlgorithmHmacSha224: cryptoki.CKM_SHA224_HMAC, ttlv.AlgorithmHmacSha256: cryptoki.CKM_SHA256_HMAC,
	ttlv.AlgorithmHmacSha384: cryptoki.CKM_SHA384_HMAC, ttlv.AlgorithmHmacSha512: cryptoki.CKM_SHA512_HMAC,
}

func (o *object) use(operation uint32, payload ttlv.Item) ([]ttlv.Item, error) {
	parameters := payload.In(ttlv.TagCryptographicParameters)
	key, err := o.parsed()
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	data, _ := payload.ByteValue(ttlv.TagData)
	algorithm := parameters.Enum(ttlv.TagCryptographicAlgorithm)
	switch operation {
	case ttlv.OpMAC:
		m, ok := macs[algorithm]
		if !ok {
			return nil, refuse(ttlv.ReasonUnsupportedCryptographicParameters, "no MAC 0x%x", algorithm)
		}
		mac, err := key.Sign(cryptoki.Mechanism{Type: m}, data)
		return []ttlv.Item{ttlv.ByteString(ttlv.TagMACData, mac)}, err
	case ttlv.OpSign:
		return o.sign(key, parameters, payload)
	}
	if algorithm == ttlv.AlgorithmRsa {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}
		if parameters.Enum(ttlv.TagPaddingMethod) == ttlv.PaddingOaep {
			label, _ := parameters.ByteValue(ttlv.TagPSource)
			m = cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{
				Hash: digests[parameters.Enum(ttlv.TagHashingAlgorithm)], MGF: masks[parameters.Enum(ttlv.TagMaskGeneratorHashingAlgorithm)], Label: label,
			}}
		}
		out, err := key.Decrypt(m, data)
		return []ttlv.Item{ttlv.ByteString(ttlv.TagData, out)}, err
	}
	return crypt(key, operation, parameters, payload, data)
}

func crypt(key *softkey.Key, operation uint32, parameters, payload ttlv.Item, data []byte) ([]ttlv.Item, error) {
	iv, _ := payload.ByteValue(ttlv.TagIVCounterNonce)
	padding := parameters.Enum(ttlv.TagPaddingMethod)
	var m cryptoki.Mechanism
	switch mode := parameters.Enum(ttlv.TagBlockCipherMode); {
	case mode == ttlv.ModeEcb && padding == ttlv.PaddingNone:
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}
	case mode == ttlv.ModeCbc && padding == ttlv.PaddingNone:
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: iv}}
	case mode == ttlv.ModeCbc && padding == ttlv.PaddingPkcs5:
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: iv}}
	case mode == ttlv.ModeCtr && len(iv) == 16:
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 128, CounterBlock: [16]byte(iv)}}
	case mode == ttlv.ModeGcm && len(iv) == 12:
		length, _ := parameters.Value(ttlv.TagTagLength, ttlv.IntegerType)
		aad, _ := payload.ByteValue(ttlv.TagAuthenticatedEncryptionAdditionalData)
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: iv, AAD: aad, TagBits: uint64(8 * length)}}
		if operation == ttlv.OpDecrypt {
			tag, _ := payload.ByteValue(ttlv.TagAuthenticatedEncryptionTag)
			data = append(slices.Clone(data), tag...)
		}
		out, err := encryptOrDecrypt(key, operation, m, data)
		if err != nil || operation == ttlv.OpDecrypt {
			return []ttlv.Item{ttlv.ByteString(ttlv.TagData, out)}, err
		}
		at := len(out) - int(length)
		return []ttlv.Item{ttlv.ByteString(ttlv.TagData, out[:at]), ttlv.ByteString(ttlv.TagAuthenticatedEncryptionTag, out[at:])}, nil
	default:
		return nil, refuse(ttlv.ReasonUnsupportedCryptographicParameters, "mode 0x%x, padding 0x%x, %d bytes of IV", mode, padding, len(iv))
	}
	out, err := encryptOrDecrypt(key, operation, m, data)
	return []ttlv.Item{ttlv.ByteString(ttlv.TagData, out)}, err
}

func encryptOrDecrypt(key *softkey.Key, operation uint32, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if operation == ttlv.OpEncrypt {
		return key.Encrypt(m, data)
	}
	return key.Decrypt(m, data)
}

func (o *object) sign(key *softkey.Key, parameters, payload ttlv.Item) ([]ttlv.Item, error) {
	hash := digests[parameters.Enum(ttlv.TagHashingAlgorithm)]
	h, ok := mechanism.HashOf(hash)
	digest, digested := payload.ByteValue(ttlv.TagDigestedData)
	if data, there := payload.ByteValue(ttlv.TagData); ok && there && !digested {
		d := h.New()
		d.Write(data)
		digest = d.Sum(nil)
	}
	if !ok || len(digest) != h.Size() {
		return nil, refuse(ttlv.ReasonInvalidField, "the digest of %d bytes is not one of the hash", len(digest))
	}
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	var err error
	if o.attributes.Enum(ttlv.TagCryptographicAlgorithm) == ttlv.AlgorithmRsa {
		switch parameters.Enum(ttlv.TagPaddingMethod) {
		case ttlv.PaddingPkcs1v15:
			m.Type = cryptoki.CKM_RSA_PKCS
			digest, err = mechanism.DigestInfo(h, digest)
		case ttlv.PaddingPss:
			salt, _ := parameters.Value(ttlv.TagSaltLength, ttlv.IntegerType)
			m = cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{
				Hash: hash, MGF: masks[parameters.Enum(ttlv.TagMaskGeneratorHashingAlgorithm)], SaltLength: uint64(salt),
			}}
		default:
			return nil, refuse(ttlv.ReasonUnsupportedCryptographicParameters, "no padding for RSA")
		}
	}
	if err != nil {
		return nil, err
	}
	out, err := key.Sign(m, digest)
	if err == nil && m.Type == cryptoki.CKM_ECDSA {
		out, err = signature.ToDER(out)
	}
	return []ttlv.Item{ttlv.ByteString(ttlv.TagSignatureData, out)}, err
}
