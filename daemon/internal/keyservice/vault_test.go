package keyservice_test

import (
	"context"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// vault is a provider that keeps its keys, does few mechanisms and neither pads nor hashes. Its keys are named by the
// object's uid, so that a repeated request finds the key made before.
type vault struct {
	mu        sync.Mutex
	keys      map[string]cryptoki.Attributes
	found     []provider.Found
	generated int
	destroyed int
	// wait, if not nil, holds Generate until it is closed.
	wait chan struct{}
	seen []cryptoki.Mechanism
	// forge makes it sign with a key that nobody has asked for.
	forge bool
}

func newVault() *vault { return &vault{keys: map[string]cryptoki.Attributes{}} }

func (v *vault) Capabilities() provider.Capabilities {
	p256, _ := curve.ByName("P-256")
	return provider.Capabilities{
		Kind: "vault", Keeps: true, Hardware: true, Curves: [][]byte{p256.Params},
		Mechanisms: []provider.Mechanism{
			{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, MinSize: 256, MaxSize: 256, Flags: cryptoki.CKF_GENERATE_KEY_PAIR},
			{Type: cryptoki.CKM_ECDSA, MinSize: 256, MaxSize: 256, Flags: cryptoki.CKF_SIGN},
			{Type: cryptoki.CKM_ECDH1_DERIVE, MinSize: 256, MaxSize: 256, Flags: cryptoki.CKF_DERIVE},
			{Type: cryptoki.CKM_AES_KEY_GEN, MinSize: 32, MaxSize: 32, Flags: cryptoki.CKF_GENERATE},
			{Type: cryptoki.CKM_AES_CBC, MinSize: 32, MaxSize: 32, Flags: cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT},
		},
	}
}

func (v *vault) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	if v.wait != nil {
		<-v.wait
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	uid := request.Identity.UID
	if _, again := v.keys[uid]; !again {
		v.generated++
		var open, secret cryptoki.Attributes
		var err error
		if request.Public != nil {
			open, secret, err = softkey.GenerateKeyPair(request.Mechanism, request.Public, request.Private)
		} else {
			secret, err = softkey.GenerateSecret(request.Mechanism, request.Private)
		}
		if err != nil {
			return provider.Generated{}, err
		}
		key := request.Private.Clone()
		for _, a := range append(open, secret...) {
			key.Set(a)
		}
		v.keys[uid] = key
	}
	return provider.Generated{Ref: []byte(uid), Public: public(v.keys[uid])}, nil
}

func public(key cryptoki.Attributes) (open cryptoki.Attributes) {
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT} {
		if value, ok := key.Get(t); ok {
			open = append(open, cryptoki.Bytes(t, value))
		}
	}
	return open
}

func (v *vault) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, ok := v.keys[string(reference.Ref)]
	if !ok {
		return nil, fault.New(fault.KeyHandleInvalid, "the vault has no such key")
	}
	parsed, err := softkey.FromAttributes(key)
	return &vaultKey{Key: parsed, vault: v, reference: reference}, err
}

func (v *vault) Destroy(ctx context.Context, reference provider.Reference) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, string(reference.Ref))
	v.destroyed++
	return nil
}

func (v *vault) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// One to a page, so that pages are read.
	for i, f := range v.found {
		if page == "" || page == f.Name {
			if i+1 < len(v.found) {
				return []provider.Found{f}, v.found[i+1].Name, nil
			}
			return []provider.Found{f}, "", nil
		}
	}
	return nil, "", nil
}

func (v *vault) Close() error { return nil }

func (v *vault) size() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.keys)
}

type vaultKey struct {
	*softkey.Key
	vault     *vault
	reference provider.Reference
}

func (k *vaultKey) Reference() provider.Reference { return k.reference }

func (k *vaultKey) note(m cryptoki.Mechanism) {
	k.vault.mu.Lock()
	defer k.vault.mu.Unlock()
	k.vault.seen = append(k.vault.seen, m)
}

func (k *vaultKey) Sign(_ context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	k.note(m)
	if k.vault.forge {
		p256, _ := curve.ByName("P-256")
		_, other, err := softkey.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
			cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params)}, nil)
		if err != nil {
			return nil, err
		}
		wrong, err := softkey.FromAttributes(append(other, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params),
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC)))
		if err != nil {
			return nil, err
		}
		return wrong.Sign(m, data)
	}
	return k.Key.Sign(m, data)
}

func (k *vaultKey) Encrypt(_ context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	k.note(m)
	return k.Key.Encrypt(m, data)
}

func (k *vaultKey) Decrypt(_ context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	k.note(m)
	return k.Key.Decrypt(m, data)
}

func (k *vaultKey) Derive(_ context.Context, m cryptoki.Mechanism, length int) ([]byte, error) {
	k.note(m)
	return k.Key.Derive(m, length)
}
