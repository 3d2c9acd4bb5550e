package main

/*
#include "pkcs11.h"

// CK_GCM_PARAMS before ulIvBits came in between; Java and others still send it.
typedef struct {
	CK_BYTE_PTR pIv;
	CK_ULONG ulIvLen;
	CK_BYTE_PTR pAAD;
	CK_ULONG ulAADLen;
	CK_ULONG ulTagBits;
} GCM_PARAMS_2_40;
*/
import "C"

import (
	"bytes"
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

const (
	errParameter = cryptoki.CKR_MECHANISM_PARAM_INVALID
	// maxParameter bounds what a parameter points to (additional data is the longest).
	maxParameter = 32 << 20
	// blockSize is that of AES, the only block cipher.
	blockSize = 16
)

// parameter reads the parameter of one kind of mechanism.
type parameter func(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error)

// parameters has the mechanisms with a parameter.
var parameters = map[cryptoki.MechanismType]parameter{
	cryptoki.CKM_AES_CBC:     readIV,
	cryptoki.CKM_AES_CBC_PAD: readIV,
	cryptoki.CKM_AES_CTR:     readCTR,
	cryptoki.CKM_AES_GCM:     readGCM,

	cryptoki.CKM_RSA_PKCS_OAEP:         readOAEP,
	cryptoki.CKM_RSA_PKCS_PSS:          readPSS,
	cryptoki.CKM_SHA1_RSA_PKCS_PSS:     readPSS,
	cryptoki.CKM_SHA224_RSA_PKCS_PSS:   readPSS,
	cryptoki.CKM_SHA256_RSA_PKCS_PSS:   readPSS,
	cryptoki.CKM_SHA384_RSA_PKCS_PSS:   readPSS,
	cryptoki.CKM_SHA512_RSA_PKCS_PSS:   readPSS,
	cryptoki.CKM_SHA3_224_RSA_PKCS_PSS: readPSS,
	cryptoki.CKM_SHA3_256_RSA_PKCS_PSS: readPSS,
	cryptoki.CKM_SHA3_384_RSA_PKCS_PSS: readPSS,
	cryptoki.CKM_SHA3_512_RSA_PKCS_PSS: readPSS,

	cryptoki.CKM_ECDH1_DERIVE:          readECDH1,
	cryptoki.CKM_ECDH1_COFACTOR_DERIVE: readECDH1,
	cryptoki.CKM_EDDSA:                 readEDDSA,
	cryptoki.CKM_ML_DSA:                readSignContext,

	cryptoki.CKM_MD5_HMAC_GENERAL:      readMACLength,
	cryptoki.CKM_SHA_1_HMAC_GENERAL:    readMACLength,
	cryptoki.CKM_SHA224_HMAC_GENERAL:   readMACLength,
	cryptoki.CKM_SHA256_HMAC_GENERAL:   readMACLength,
	cryptoki.CKM_SHA384_HMAC_GENERAL:   readMACLength,
	cryptoki.CKM_SHA512_HMAC_GENERAL:   readMACLength,
	cryptoki.CKM_SHA3_224_HMAC_GENERAL: readMACLength,
	cryptoki.CKM_SHA3_256_HMAC_GENERAL: readMACLength,
	cryptoki.CKM_SHA3_384_HMAC_GENERAL: readMACLength,
	cryptoki.CKM_SHA3_512_HMAC_GENERAL: readMACLength,
}

// readMechanism reads a CK_MECHANISM. The parameter of a mechanism that nobody here knows is left alone: the session
// answers CKR_MECHANISM_INVALID.
func readMechanism(p C.CK_MECHANISM_PTR) (cryptoki.Mechanism, error) {
	if p == nil {
		return cryptoki.Mechanism{}, errArguments
	}
	m := cryptoki.Mechanism{Type: cryptoki.MechanismType(p.mechanism)}
	at, n := pointer(unsafe.Pointer(&p.pParameter)), p.ulParameterLen
	if at == nil && n > 0 || n > maxLength {
		return m, errArguments
	}
	read, ok := parameters[m.Type]
	if !ok {
		if _, known := mechanism.Lookup(m.Type); known && n > 0 {
			return m, errParameter
		}
		return m, nil
	}
	var err error
	m.Params, err = read(at, n)
	return m, err
}

// readStruct is a C structure, if the length is its. It stays where it is: its pointers must not be copied unseen.
func readStruct[T any](p unsafe.Pointer, n C.CK_ULONG) (*T, error) {
	c := (*T)(p)
	if p == nil || n != C.CK_ULONG(unsafe.Sizeof(*c)) {
		return nil, errParameter
	}
	return c, nil
}

// readBytes copies what a pointer in a structure points to; nil for an empty one.
func readBytes(field unsafe.Pointer, n C.CK_ULONG) ([]byte, error) {
	p := pointer(field)
	if n == 0 {
		return nil, nil
	}
	if p == nil || n > maxParameter {
		return nil, errParameter
	}
	return bytes.Clone(unsafe.Slice((*byte)(p), int(n))), nil
}

func readIV(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	if p == nil || n != blockSize {
		return nil, errParameter
	}
	return cryptoki.IVParams{IV: bytes.Clone(unsafe.Slice((*byte)(p), blockSize))}, nil
}

func readCTR(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	c, err := readStruct[C.CK_AES_CTR_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	params := cryptoki.CTRParams{CounterBits: uint64(c.ulCounterBits)}
	for i := range params.CounterBlock {
		params.CounterBlock[i] = byte(c.cb[i])
	}
	return params, nil
}

func readGCM(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	if n == C.sizeof_GCM_PARAMS_2_40 {
		c, err := readStruct[C.GCM_PARAMS_2_40](p, n)
		if err != nil {
			return nil, err
		}
		return gcm(unsafe.Pointer(&c.pIv), c.ulIvLen, unsafe.Pointer(&c.pAAD), c.ulAADLen, c.ulTagBits)
	}
	c, err := readStruct[C.CK_GCM_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	return gcm(unsafe.Pointer(&c.pIv), c.ulIvLen, unsafe.Pointer(&c.pAAD), c.ulAADLen, c.ulTagBits)
}

func gcm(iv unsafe.Pointer, ivLen C.CK_ULONG, aad unsafe.Pointer, aadLen, tagBits C.CK_ULONG) (cryptoki.Params, error) {
	nonce, err := readBytes(iv, ivLen)
	if err != nil {
		return nil, err
	}
	data, err := readBytes(aad, aadLen)
	return cryptoki.GCMParams{IV: nonce, AAD: data, TagBits: uint64(tagBits)}, err
}

func readPSS(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	c, err := readStruct[C.CK_RSA_PKCS_PSS_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	return cryptoki.PSSParams{
		Hash: cryptoki.MechanismType(c.hashAlg), MGF: uint64(c.mgf), SaltLength: uint64(c.sLen),
	}, nil
}

// readOAEP takes source 0, which is no value of the standard, for CKZ_DATA_SPECIFIED: pkcs11-tool sends it.
func readOAEP(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	c, err := readStruct[C.CK_RSA_PKCS_OAEP_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	if c.source != 0 && uint64(c.source) != cryptoki.CKZ_DATA_SPECIFIED {
		return nil, errParameter
	}
	label, err := readBytes(unsafe.Pointer(&c.pSourceData), c.ulSourceDataLen)
	return cryptoki.OAEPParams{Hash: cryptoki.MechanismType(c.hashAlg), MGF: uint64(c.mgf), Label: label}, err
}

func readECDH1(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	c, err := readStruct[C.CK_ECDH1_DERIVE_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	shared, err := readBytes(unsafe.Pointer(&c.pSharedData), c.ulSharedDataLen)
	if err != nil {
		return nil, err
	}
	public, err := readBytes(unsafe.Pointer(&c.pPublicData), c.ulPublicDataLen)
	return cryptoki.ECDH1Params{KDF: uint64(c.kdf), SharedData: shared, PublicData: public}, err
}

// readEDDSA reads a parameter that may be absent: plain Ed25519 has none.
func readEDDSA(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	if n == 0 {
		return nil, nil
	}
	c, err := readStruct[C.CK_EDDSA_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	context, err := readBytes(unsafe.Pointer(&c.pContextData), c.ulContextDataLen)
	return cryptoki.EDDSAParams{Prehash: c.phFlag != 0, Context: context}, err
}

// readSignContext reads a parameter that may be absent: then the context is empty, and the signature hedged or not.
func readSignContext(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	if n == 0 {
		return nil, nil
	}
	c, err := readStruct[C.CK_SIGN_ADDITIONAL_CONTEXT](p, n)
	if err != nil {
		return nil, err
	}
	context, err := readBytes(unsafe.Pointer(&c.pContext), c.ulContextLen)
	return cryptoki.SignContextParams{Hedge: uint64(c.hedgeVariant), Context: context}, err
}

func readMACLength(p unsafe.Pointer, n C.CK_ULONG) (cryptoki.Params, error) {
	length, err := readStruct[C.CK_MAC_GENERAL_PARAMS](p, n)
	if err != nil {
		return nil, err
	}
	return cryptoki.MACGeneralParams{Length: uint64(*length)}, nil
}
