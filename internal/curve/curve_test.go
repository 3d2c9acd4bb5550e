package curve

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func printable(name string) []byte { return append([]byte{0x13, byte(len(name))}, name...) }

func TestParse(t *testing.T) {
	for _, test := range []struct {
		params []byte
		name   string
		rv     cryptoki.RV
	}{
		{[]byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, "P-256", 0},
		{[]byte{6, 5, 0x2b, 0x81, 4, 0, 0x21}, "P-224", 0},
		{[]byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}, "P-384", 0},
		{[]byte{6, 5, 0x2b, 0x81, 4, 0, 0x23}, "P-521", 0},
		{[]byte{6, 3, 0x2b, 0x65, 0x70}, "Ed25519", 0},
		{printable("edwards25519"), "Ed25519", 0},
		{printable("secp256r1"), "P-256", 0},
		{append([]byte{0x0c, 10}, "prime256v1"...), "P-256", 0},
		{printable("curve25519"), "", cryptoki.CKR_CURVE_NOT_SUPPORTED},
		{[]byte{6, 5, 0x2b, 0x81, 4, 0, 0x0a}, "", cryptoki.CKR_CURVE_NOT_SUPPORTED},
		{nil, "", cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{[]byte{5, 0}, "", cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{[]byte{0x30, 3, 2, 1, 1}, "", cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{[]byte{6, 3, 0x2b, 0x65, 0x70, 0}, "", cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{[]byte("P-256"), "", cryptoki.CKR_DOMAIN_PARAMS_INVALID},
	} {
		c, err := Parse(test.params)
		if test.rv != 0 {
			if fault.RV(err) != test.rv {
				t.Errorf("%x: %v, want %v", test.params, err, test.rv)
			}
		} else if err != nil || c.Name != test.name {
			t.Errorf("%x: %v %v, want %s", test.params, c, err, test.name)
		}
	}
}

func TestSizes(t *testing.T) {
	for name, want := range map[string][3]int{
		"P-224": {224, 28, 57}, "P-256": {256, 32, 65}, "P-384": {384, 48, 97}, "P-521": {521, 66, 133}, "Ed25519": {255, 32, 32},
	} {
		c, ok := ByName(name)
		if !ok || [3]int{c.Bits, c.Bytes(), c.PointLength()} != want {
			t.Errorf("%s: %v", name, c)
		}
		if again, err := Parse(c.Params); err != nil || again != c {
			t.Errorf("%s: its own parameters: %v", name, err)
		}
	}
	if len(All()) != 5 {
		t.Error(len(All()))
	}
	if _, ok := ByName("P-192"); ok {
		t.Error("P-192 is not supported")
	}
}

func TestPoint(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p256, _ := ByName("P-256")
	ed, _ := ByName("Ed25519")
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	edPoint := bytes.Repeat([]byte{4}, 32)
	for _, test := range []struct {
		name  string
		c     *Curve
		value []byte
		want  []byte
	}{
		{"OCTET STRING", p256, OctetString(point), point},
		{"raw", p256, point, point},
		{"BIT STRING", p256, append([]byte{3, 66, 0}, point...), point},
		{"compressed", p256, elliptic.MarshalCompressed(elliptic.P256(), key.X, key.Y), nil},
		{"compressed in an OCTET STRING", p256, OctetString(elliptic.MarshalCompressed(elliptic.P256(), key.X, key.Y)), nil},
		{"SubjectPublicKeyInfo", p256, spki, nil},
		{"too short", p256, point[:64], nil},
		{"with a tail", p256, append(OctetString(point), 0), nil},
		{"nothing", p256, nil, nil},
		{"BIT STRING without bits", p256, []byte{3, 0}, nil},
		{"hybrid form", p256, append([]byte{6}, point[1:]...), nil},
		{"Edwards raw", ed, edPoint, edPoint},
		{"Edwards OCTET STRING", ed, OctetString(edPoint), edPoint},
		{"Edwards BIT STRING", ed, append([]byte{3, 33, 0}, edPoint...), edPoint},
		// These 32 bytes look like an OCTET STRING and are a point all the same: the length decides.
		{"Edwards point like a header", ed, OctetString(edPoint[:30]), OctetString(edPoint[:30])},
	} {
		got, ok := test.c.Point(test.value)
		if ok != (test.want != nil) || ok && !bytes.Equal(got, test.want) {
			t.Errorf("%s: %x %v", test.name, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range All() {
		f.Add(c.Params)
	}
	f.Add(printable("edwards25519"))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, params []byte) {
		c, err := Parse(params)
		if (c == nil) == (err == nil) {
			t.Fatal("neither curve nor error")
		}
		if rv := fault.RV(err); rv != 0 && rv != cryptoki.CKR_CURVE_NOT_SUPPORTED && rv != cryptoki.CKR_DOMAIN_PARAMS_INVALID {
			t.Fatal(rv)
		}
	})
}

func FuzzPoint(f *testing.F) {
	f.Add(OctetString(append([]byte{4}, make([]byte, 64)...)))
	f.Add(append([]byte{4}, make([]byte, 132)...))
	f.Add(append([]byte{3, 33, 0}, make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, c := range All() {
			if point, ok := c.Point(value); ok {
				if again, ok := c.Point(OctetString(point)); !ok || !bytes.Equal(again, point) {
					t.Fatalf("%s: %x is not itself any more", c.Name, value)
				}
			}
		}
	})
}
