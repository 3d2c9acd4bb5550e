package azurekv

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// pkcs1 and pss are Azure's names of the RSA signatures with a hash.
var (
	pkcs1 = map[cryptoki.MechanismType]azkeys.SignatureAlgorithm{
		cryptoki.CKM_SHA256: azkeys.SignatureAlgorithmRS256,
		cryptoki.CKM_SHA384: azkeys.SignatureAlgorithmRS384,
		cryptoki.CKM_SHA512: azkeys.SignatureAlgorithmRS512,
	}
	pss = map[cryptoki.MechanismType]azkeys.SignatureAlgorithm{
		cryptoki.CKM_SHA256: azkeys.SignatureAlgorithmPS256,
		cryptoki.CKM_SHA384: azkeys.SignatureAlgorithmPS384,
		cryptoki.CKM_SHA512: azkeys.SignatureAlgorithmPS512,
	}
)

// Sign signs a digest.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_SIGN); err != nil {
		return nil, err
	}
	algorithm, digest, err := k.digest(m, data)
	if err != nil {
		return nil, err
	}
	parameters := azkeys.SignParameters{Algorithm: &algorithm, Value: digest}
	answer, err := call(ctx, k.provider, request{operation: opSign, key: k.id.String()}, func(ctx context.Context) (azkeys.SignResponse, error) {
		return k.provider.client.Sign(ctx, k.id.name, k.id.version, parameters, nil)
	})
	if err != nil {
		return nil, k.settle(err)
	}
	if err := k.answered(answer.KID); err != nil {
		return nil, err
	}
	// It costs a fraction of the call, and an answer that is another key's must not reach the application.
	if err := k.verifier.Verify(m, data, answer.Result); err != nil {
		return nil, fault.New(fault.FunctionFailed, "the signature that Azure made with %s does not verify by its public key (%v); look at vault_url and at the key", k.id, err)
	}
	return answer.Result, nil
}

// digest turns a mechanism and its data into what Azure calls it.
func (k *key) digest(m cryptoki.Mechanism, data []byte) (azkeys.SignatureAlgorithm, []byte, error) {
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if most := int(k.spec.bits/8) - 11; len(data) > most {
			return "", nil, fault.New(fault.DataLenRange, "%d bytes are more than the %d that fit under the padding of this key", len(data), most)
		}
		digest, value, err := signature.Strip(data)
		if err != nil {
			return "", nil, err
		}
		algorithm, ok := pkcs1[digest]
		if !ok {
			return "", nil, fault.New(fault.DataInvalid, "Azure signs no %s with RSA; let the application take SHA-256, SHA-384 or SHA-512", digest)
		}
		return algorithm, value, nil
	case cryptoki.CKM_RSA_PKCS_PSS:
		hash := m.Params.(cryptoki.PSSParams).Hash
		if h, _ := mechanism.HashOf(hash); len(data) != h.Size() {
			return "", nil, fault.New(fault.DataLenRange, "a digest of %s has %d bytes, not %d", hash, h.Size(), len(data))
		}
		return pss[hash], data, nil
	}
	if len(data) == 0 {
		return "", nil, fault.New(fault.DataLenRange, "there is no digest to sign")
	}
	fitted, err := signature.Fit(data, k.spec.signed.digest, k.spec.on.Bits)
	return k.spec.signed.algorithm, fitted, err
}

// Derive refuses: Azure has no key agreement.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, _ int) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_DERIVE); err != nil {
		return nil, err
	}
	return nil, limited(m.Type, fault.New(fault.MechanismInvalid, "Azure Key Vault derives no keys; use provider software or hsm"))
}
