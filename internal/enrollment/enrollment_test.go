package enrollment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func issue(t testing.TB, template x509.Certificate, issuer *pair) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.BasicConstraintsValid = true
	if issuer == nil {
		issuer = &pair{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{certificate, key}
}

func authority(t testing.TB) pair {
	return issue(t, x509.Certificate{IsCA: true, Subject: pkix.Name{CommonName: "CA"}, KeyUsage: x509.KeyUsageCertSign}, nil)
}

func TestCodeThereAndBack(t *testing.T) {
	ca := authority(t)
	code := New(ca.certificate)
	text := code.String()
	for name, form := range map[string]string{
		"as printed": text, "upper case": strings.ToUpper(text), "with breaks": " " + text[:20] + "\n\t" + text[20:] + "\r\n", "grouped": text[:7] + "-" + text[7:15] + "-" + text[15:],
	} {
		got, err := Parse(form)
		if err != nil || got != code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !code.Names(ca.certificate) || code.Names(authority(t).certificate) {
		t.Error("the code does not name its authority alone")
	}
	other := New(ca.certificate)
	if other == code || string(other.Hash()) == string(code.Hash()) {
		t.Error("two codes are equal")
	}
}

func TestParseRefuses(t *testing.T) {
	text := New(authority(t).certificate).String()
	for name, form := range map[string]string{
		"empty": "", "a word": "hello", "only the prefix": prefix, "cut": text[:len(text)-1], "longer": text + "a", "no base32": text[:20] + "1" + text[21:],
	} {
		if _, err := Parse(form); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	// Every single wrong character shows.
	for i := len(prefix); i < len(text); i++ {
		wrong := byte('a')
		if text[i] == wrong {
			wrong = 'b'
		}
		if code, err := Parse(text[:i] + string(wrong) + text[i+1:]); err == nil && code.String() != text {
			// Two bytes of checksum let one in 65536 pass.
			t.Logf("character %d: a wrong code was accepted", i)
		}
	}
}

// handshake dials a TLS server with what a code says.
func handshake(t *testing.T, code Code, name string, chain ...pair) error {
	t.Helper()
	server := tls.Certificate{PrivateKey: chain[0].key}
	for _, p := range chain {
		server.Certificate = append(server.Certificate, p.certificate.Raw)
	}
	here, there := net.Pipe()
	go func() {
		_ = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS13}).Handshake()
		_ = there.Close()
	}()
	defer here.Close()
	return tls.Client(here, TLSConfig(code, name)).Handshake()
}

func TestTLSPinsTheAuthority(t *testing.T) {
	ca, foreign := authority(t), authority(t)
	leafOf := func(issuer pair, usage x509.ExtKeyUsage) pair {
		return issue(t, x509.Certificate{DNSNames: []string{"hsm"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, &issuer)
	}
	good := leafOf(ca, x509.ExtKeyUsageServerAuth)
	code := New(ca.certificate)
	for _, test := range []struct {
		name, host string
		chain      []pair
		want       string
	}{
		{"good", "hsm", []pair{good, ca}, ""},
		{"another name", "other", []pair{good, ca}, "listen.advertise"},
		{"another authority", "hsm", []pair{leafOf(foreign, x509.ExtKeyUsageServerAuth), foreign}, "not the one that the code names"},
		{"another authority, ours only shown", "hsm", []pair{leafOf(foreign, x509.ExtKeyUsageServerAuth), ca, foreign}, "the daemon's certificate"},
		{"no authority shown", "hsm", []pair{good}, "not the one that the code names"},
		{"an application's certificate", "hsm", []pair{leafOf(ca, x509.ExtKeyUsageClientAuth), ca}, "the daemon's certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := handshake(t, code, test.host, test.chain...)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("handshake = %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New(authority(f).certificate).String())
	f.Add(prefix)
	f.Add("anyhsm1aaaa aaaa-AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(code.String())
		if err != nil || again != code {
			t.Errorf("%q was accepted, but not as %q: %v", text, code, err)
		}
	})
}
