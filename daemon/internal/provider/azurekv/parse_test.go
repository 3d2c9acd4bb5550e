package azurekv

import (
	"crypto/aes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func FuzzKID(f *testing.F) {
	version := strings.Repeat("0123456789abcdef", 2)
	for _, seed := range []string{
		"https://a.vault.azure.net/keys/web/" + version, "https://a.vault.azure.net:443/keys/web/", "https://a/keys/web", "http://a/keys/b",
		"https://a/keys/keys/keys", "https://a/keys//" + version, "https://a@b/keys/c", "", "/keys/", "https://[::1]/keys/a/" + version,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, ok := parseKID(text)
		if !ok {
			return
		}
		if again, ok := parseKID(k.String()); !ok || again != k {
			t.Errorf("%q is %+v, and %q is %+v", text, k, k, again)
		}
	})
}

// FuzzWebKey reads what a vault might send: whatever it is, it is refused or a key whose public half is whole.
func FuzzWebKey(f *testing.F) {
	for _, seed := range []string{
		`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		`{"kty":"EC","crv":"P-256K","x":"AA","y":"AA"}`, `{"kty":"EC"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, `{"kty":"RSA-HSM"}`,
		`{"kty":"oct-HSM"}`, `{"kty":"oct"}`, `{}`, `{"kty":"EC","crv":"P-521","x":"` + strings.Repeat("_", 200) + `","y":"AA"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var key azkeys.JSONWebKey
		if json.Unmarshal(text, &key) != nil {
			return
		}
		kind, public, err := read(&key)
		if err != nil {
			return
		}
		switch kind.keyType {
		case cryptoki.CKK_RSA:
			if len(public.Bytes(cryptoki.CKA_MODULUS)) != int(kind.bits/8) || len(public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)) == 0 {
				t.Errorf("%s: %v", text, public)
			}
		case cryptoki.CKK_EC:
			if _, ok := kind.on.Point(public.Bytes(cryptoki.CKA_EC_POINT)); !ok {
				t.Errorf("%s: %v", text, public)
			}
		case cryptoki.CKK_AES:
		default:
			t.Errorf("%s: a key of type %s", text, kind.keyType)
		}
	})
}

func TestUnpadded(t *testing.T) {
	block := func(last ...byte) []byte { return append(make([]byte, aes.BlockSize*2-len(last)), last...) }
	for n := 1; n <= aes.BlockSize; n++ {
		padded := block([]byte(strings.Repeat(string(rune(n)), n))...)
		if length, ok := unpadded(padded); !ok || length != 2*aes.BlockSize-n {
			t.Errorf("%d bytes of padding: %d, %t", n, length, ok)
		}
		if n > 1 {
			padded[len(padded)-n] ^= 1
			if _, ok := unpadded(padded); ok {
				t.Errorf("%d bytes of wrong padding are taken", n)
			}
		}
	}
	for _, last := range []byte{0, 17, 32, 255} {
		if _, ok := unpadded(block(last)); ok {
			t.Errorf("a padding of %d is taken", last)
		}
	}
}

// What follows a link shows the daemon's token.
func TestOwn(t *testing.T) {
	p := &Provider{vault: "https://a.vault.azure.net"}
	for link, want := range map[string]bool{
		"https://a.vault.azure.net/keys?api-version=1&$skiptoken=x":  true,
		"https://a.vault.azure.net:443/keys?$skiptoken=x":            true,
		"https://A.vault.azure.net/keys":                             true,
		"http://a.vault.azure.net/keys":                              false,
		"https://a.vault.azure.net:444/keys":                         false,
		"https://a.vault.azure.net.example/keys":                     false,
		"https://a.vault.azure.net@example.org/keys":                 false,
		"https://user@a.vault.azure.net/keys":                        false,
		"//a.vault.azure.net/keys":                                   false,
		"/keys":                                                      false,
		"https://b.vault.azure.net/?x=https://a.vault.azure.net/key": false,
	} {
		if p.own(link) != want {
			t.Errorf("%s: %t", link, !want)
		}
	}
	for text, want := range map[string]string{
		"https://A.vault.azure.net/": "https://a.vault.azure.net", "https://a.vault.azure.net:443": "https://a.vault.azure.net",
		"https://127.0.0.1:8443": "https://127.0.0.1:8443", "https://:443": "", "https://": "", "https://u:secret@a": "",
	} {
		got, err := CheckVaultURL(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}
