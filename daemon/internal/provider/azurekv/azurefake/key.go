package azurefake

import (
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"time"
)

// Key is one version of a key.
type Key struct {
	Version string
	// Kty is RSA, RSA-HSM, EC, EC-HSM or oct-HSM.
	Kty string
	// Operations are the key_ops.
	Operations []string
	Tags       map[string]string
	Enabled    bool
	// NotBefore and Expires are zero if there is no such date.
	NotBefore, Expires, Created time.Time

	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	secret []byte
}

// number is base64url without padding, and nothing else.
type number []byte

// UnmarshalJSON reads a number.
func (n *number) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	*n = b
	return err
}

// MarshalJSON writes a number.
func (n number) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(n))
}

// webKey is a JSON Web Key as it travels.
type webKey struct {
	KID string   `json:"kid,omitempty"`
	Kty string   `json:"kty"`
	Ops []string `json:"key_ops,omitempty"`
	Crv string   `json:"crv,omitempty"`
	N   number   `json:"n,omitempty"`
	E   number   `json:"e,omitempty"`
	X   number   `json:"x,omitempty"`
	Y   number   `json:"y,omitempty"`
	D   number   `json:"d,omitempty"`
	P   number   `json:"p,omitempty"`
	Q   number   `json:"q,omitempty"`
	DP  number   `json:"dp,omitempty"`
	DQ  number   `json:"dq,omitempty"`
	QI  number   `json:"qi,omitempty"`
	K   number   `json:"k,omitempty"`
	T   number   `json:"key_hsm,omitempty"`
}

var ellipticCurves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// purposes are the key_ops that a type of key can have.
var purposes = map[string][]string{
	"RSA": {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"},
	"EC":  {"sign", "verify"},
	"oct": {"encrypt", "decrypt", "wrapKey", "unwrapKey"},
}

// family is a type without where it is kept.
func family(kty string) string {
	switch kty {
	case "RSA", "RSA-HSM":
		return "RSA"
	case "EC", "EC-HSM":
		return "EC"
	}
	return "oct"
}

// types checks that this vault has keys of a type, and the key_ops.
func (v *Vault) types(kty string, ops []string) ([]string, *refusal) {
	have := []string{"RSA", "EC"}
	switch {
	case v.options.HSM:
		have = []string{"RSA-HSM", "EC-HSM", "oct-HSM"}
	case v.options.Premium:
		have = append(have, "RSA-HSM", "EC-HSM")
	}
	if !slices.Contains(have, kty) {
		return nil, bad("Property kty has invalid value " + kty)
	}
	all := purposes[family(kty)]
	for _, o := range ops {
		if !slices.Contains(all, o) {
			return nil, bad("The key operation " + o + " is not valid for keys of type " + kty)
		}
	}
	if len(ops) == 0 {
		ops = all
	}
	return ops, nil
}

// generate makes key material.
func generate(k *Key, crv string, size int) *refusal {
	var err error
	switch family(k.Kty) {
	case "RSA":
		if size == 0 {
			size = 2048
		}
		if crv != "" || !slices.Contains([]int{2048, 3072, 4096}, size) {
			return bad("Property key_size has invalid value")
		}
		k.rsa, err = rsa.GenerateKey(rand.Reader, size)
	case "EC":
		c, ok := ellipticCurves[crv]
		if !ok || size != 0 {
			return bad("Property crv has invalid value " + crv)
		}
		k.ec, err = ecdsa.GenerateKey(c, rand.Reader)
	default:
		if crv != "" || !slices.Contains([]int{128, 192, 256}, size) {
			return bad("Property key_size has invalid value")
		}
		k.secret = make([]byte, size/8)
		_, err = rand.Read(k.secret)
	}
	if err != nil {
		return bad(err.Error())
	}
	return nil
}

// take reads key material. All numbers of an RSA key must be there and fit.
func take(k *Key, w webKey) *refusal {
	wrong := bad("The key material is invalid")
	switch family(k.Kty) {
	case "RSA":
		key := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).SetBytes(w.N), E: int(new(big.Int).SetBytes(w.E).Int64())},
			D:         new(big.Int).SetBytes(w.D),
			Primes:    []*big.Int{new(big.Int).SetBytes(w.P), new(big.Int).SetBytes(w.Q)},
		}
		if len(w.P) == 0 || len(w.Q) == 0 || key.Validate() != nil || !slices.Contains([]int{2048, 3072, 4096}, key.N.BitLen()) {
			return wrong
		}
		key.Precompute()
		for _, part := range []struct {
			sent number
			want *big.Int
		}{{w.DP, key.Precomputed.Dp}, {w.DQ, key.Precomputed.Dq}, {w.QI, key.Precomputed.Qinv}} {
			if new(big.Int).SetBytes(part.sent).Cmp(part.want) != 0 {
				return wrong
			}
		}
		k.rsa = key
	case "EC":
		c, ok := ellipticCurves[w.Crv]
		if !ok {
			return wrong
		}
		size := (c.Params().BitSize + 7) / 8
		key, err := ecdsa.ParseRawPrivateKey(c, w.D)
		if err != nil || len(w.X) != size || len(w.Y) != size {
			return wrong
		}
		point, err := key.PublicKey.Bytes()
		if err != nil || string(point[1:]) != string(w.X)+string(w.Y) {
			return wrong
		}
		k.ec = key
	default:
		if _, err := aes.NewCipher(w.K); err != nil {
			return wrong
		}
		k.secret = w.K
	}
	return nil
}

// public shows a key. As the service, it leaves no leading zeros in the numbers of RSA.
func (k *Key) public(id string) webKey {
	w := webKey{KID: id, Kty: k.Kty, Ops: k.Operations}
	switch {
	case k.rsa != nil:
		w.N, w.E = k.rsa.N.Bytes(), big.NewInt(int64(k.rsa.E)).Bytes()
	case k.ec != nil:
		point, _ := k.ec.PublicKey.Bytes()
		half := len(point) / 2
		w.Crv, w.X, w.Y = k.ec.Params().Name, point[1:1+half], point[1+half:]
	}
	return w
}

// usable tells why a key cannot be used for an operation now.
func (k *Key) usable(operation string, now time.Time) *refusal {
	switch {
	case !k.Enabled:
		return forbidden("KeyDisabled", "Operation "+operation+" is not allowed on a disabled key.")
	// Decryption goes on before and after a key's time.
	case operation != "decrypt" && !k.NotBefore.IsZero() && now.Before(k.NotBefore):
		return forbidden("KeyNotYetValid", "Operation "+operation+" is not allowed on a key that is not yet valid.")
	case operation != "decrypt" && !k.Expires.IsZero() && now.After(k.Expires):
		return forbidden("KeyExpired", "Operation "+operation+" is not allowed on an expired key.")
	case !slices.Contains(k.Operations, operation):
		return forbidden("KeyOperationForbidden", "Operation "+operation+" is not permitted on this key.")
	}
	return nil
}
