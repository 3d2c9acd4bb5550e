package kmip

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func aesRequest(uid string) provider.GenerateRequest {
	return provider.GenerateRequest{
		Identity: provider.Identity{UID: uid, Token: "token"}, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN},
		Private: cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
			cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32)), cryptoki.Bool(cryptoki.CKA_ENCRYPT, true), cryptoki.Bool(cryptoki.CKA_SENSITIVE, true),
		},
	}
}

func ecRequest(uid string) provider.GenerateRequest {
	on, _ := curve.ByName("P-256")
	return provider.GenerateRequest{
		Identity: provider.Identity{UID: uid, Token: "token"}, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public:  cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, on.Params)},
		Private: cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC), cryptoki.Bool(cryptoki.CKA_SIGN, true)},
	}
}

// TestLostAnswers: the server does what it is asked, and its answer never comes.
func TestLostAnswers(t *testing.T) {
	for _, lost := range []uint32{ttlv.OpCreate, ttlv.OpCreateKeyPair, ttlv.OpActivate, ttlv.OpLocate, ttlv.OpGetAttributes, ttlv.OpGet, ttlv.OpRevoke, ttlv.OpDestroy} {
		t.Run(nameOf(lost), func(t *testing.T) {
			server, _, c := strict(t)
			left := 1
			server.SetFault(func(operation uint32, _ net.Conn, answer func() []byte) (bool, bool) {
				if operation != lost || left == 0 {
					return false, false
				}
				left--
				answer()
				return true, false
			})
			p := connect(t, c)
			for i, request := range []provider.GenerateRequest{aesRequest(strings.Repeat("a", 32)), ecRequest(strings.Repeat("e", 32))} {
				generated, err := p.Generate(t.Context(), request)
				if err != nil {
					t.Fatal(err)
				}
				again, err := p.Generate(t.Context(), request)
				if err != nil || !bytes.Equal(again.Ref, generated.Ref) {
					t.Errorf("another key: %v", err)
				}
				kind := []uint32{ttlv.ObjectSymmetricKey, ttlv.ObjectPrivateKey}[i]
				if n := server.Living(kind); n != 1 {
					t.Errorf("%d keys were made", n)
				}
				ref := provider.Reference{Identity: request.Identity, Ref: generated.Ref}
				if err := p.(provider.Destroyer).Destroy(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
				if n := server.Living(kind) + server.Living(ttlv.ObjectPublicKey); n != 0 {
					t.Errorf("%d objects are left", n)
				}
			}
			if left != 0 {
				t.Error("the operation was never asked for")
			}
		})
	}
}

// TestStrangeAnswers: what comes back is no answer.
func TestStrangeAnswers(t *testing.T) {
	server, _, c := strict(t)
	p := connect(t, c)
	request := ecRequest(strings.Repeat("e", 32))
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.Key(t.Context(), provider.Reference{Identity: request.Identity, Ref: generated.Ref})
	if err != nil {
		t.Fatal(err)
	}
	sign := func() error {
		_, err := k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32))
		return err
	}
	edit := func(change func(item *ttlv.Item)) func([]byte) []byte {
		return func(b []byte) []byte {
			item, err := ttlv.Unmarshal(b)
			if err != nil {
				t.Error(err)
			}
			change(&item)
			return ttlv.Marshal(item)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"nothing":              func([]byte) []byte { return nil },
		"half":                 func(b []byte) []byte { return b[:len(b)/2] },
		"a byte":               func(b []byte) []byte { return b[:1] },
		"HTTP":                 func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"oversize":             func(b []byte) []byte { return append([]byte{b[0], b[1], b[2], b[3], 0x7f, 0xff, 0xff, 0xf8}, b[8:]...) },
		"a wrong length":       func(b []byte) []byte { b[15] += 8; return b },
		"an unknown type":      func(b []byte) []byte { b[11] = 0x0f; return b },
		"a request":            edit(func(i *ttlv.Item) { i.Tag = ttlv.TagRequestMessage }),
		"no batch item":        edit(func(i *ttlv.Item) { i.Items = i.Items[:1] }),
		"two batch items":      edit(func(i *ttlv.Item) { i.Items = append(i.Items, i.Items[1]) }),
		"no status":            edit(func(i *ttlv.Item) { i.Items[1].Items = i.Items[1].Items[:1] }),
		"pending":              edit(func(i *ttlv.Item) { i.Items[1].Items[1].Number = int64(ttlv.StatusPending) }),
		"KMIP 3":               edit(func(i *ttlv.Item) { i.Items[0].Items[0].Items[0].Number = 3 }),
		"of another operation": edit(func(i *ttlv.Item) { i.Items[1].Items[0].Number = int64(ttlv.OpGet) }),
		"of another key":       edit(func(i *ttlv.Item) { i.Items[1].Items[2].Items[0].Bytes = []byte("key-9999") }),
		"a zero signature":     edit(func(i *ttlv.Item) { clear(i.Items[1].Items[2].Items[1].Bytes) }),
		"no signature":         edit(func(i *ttlv.Item) { i.Items[1].Items[2].Items = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			server.SetFault(func(_ uint32, c net.Conn, answer func() []byte) (bool, bool) {
				_, _ = c.Write(change(answer()))
				return true, false
			})
			err := sign()
			if !fault.Is(err, fault.DeviceError) && !fault.Is(err, fault.FunctionFailed) {
				t.Errorf("the error means %s: %v", fault.RV(err), err)
			}
			if !strings.Contains(err.Error(), "strict") {
				t.Errorf("the error does not name the provider: %v", err)
			}
			server.SetFault(nil)
			if err := sign(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("unknown tags beside", func(t *testing.T) {
		server.SetFault(func(_ uint32, c net.Conn, answer func() []byte) (bool, bool) {
			_, _ = c.Write(edit(func(i *ttlv.Item) {
				i.Items[1].Items[2].Items = append(i.Items[1].Items[2].Items, ttlv.TextString(0x540001, "vendor"))
			})(answer()))
			return true, true
		})
		if err := sign(); err != nil {
			t.Error(err)
		}
		server.SetFault(nil)
	})
	t.Run("silence", func(t *testing.T) {
		server.SetFault(func(_ uint32, c net.Conn, _ func() []byte) (bool, bool) {
			_, _ = io.Copy(io.Discard, c)
			return true, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := k.(provider.Signer).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32))
		if !fault.Is(err, fault.DeadlineExceeded) || time.Since(begin) > time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		server.SetFault(nil)
	})
}

// TestRestart: the server goes and comes back while its keys are used.
func TestRestart(t *testing.T) {
	server, _, c := strict(t)
	p := connect(t, c)
	request := ecRequest(strings.Repeat("e", 32))
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.Key(t.Context(), provider.Reference{Identity: request.Identity, Ref: generated.Ref})
	if err != nil {
		t.Fatal(err)
	}
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	for range 3 {
		server.Stop()
		_, err = k.(provider.Signer).Sign(t.Context(), m, make([]byte, 32))
		if !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), "see whether it runs") {
			t.Errorf("while it is away: %v", err)
		}
		if err := server.Listen(c.Address); err != nil {
			t.Fatal(err)
		}
		if _, err := k.(provider.Signer).Sign(t.Context(), m, make([]byte, 32)); err != nil {
			t.Errorf("when it is back: %v", err)
		}
		// All idle connections are dead now, and nobody notices.
		server.Stop()
		if err := server.Listen(c.Address); err != nil {
			t.Fatal(err)
		}
		if _, err := k.(provider.Signer).Sign(t.Context(), m, make([]byte, 32)); err != nil {
			t.Errorf("after a quick restart: %v", err)
		}
	}
}

// TestConnections: certificates and passwords that are wrong.
func TestConnections(t *testing.T) {
	server, authority, good := strict(t)
	server.Username, server.Password = "anyhsm", "correct horse"
	good.Username, good.Password = "anyhsm", "correct horse"
	connect(t, good)
	other, err := kmiptest.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(a *kmiptest.Authority, name string, usage x509.ExtKeyUsage, until time.Time) (string, string) {
		certificate, key, err := a.Issue(name, usage, until)
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	foreign, foreignKey := issue(other, "foreign", x509.ExtKeyUsageClientAuth, time.Now().Add(time.Hour))
	expired, expiredKey := issue(authority, "expired", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Hour))
	old, oldKey := issue(authority, "old", x509.ExtKeyUsageServerAuth, time.Now().Add(-time.Hour))
	stale, err := kmiptest.NewServer("127.0.0.1:0", old, oldKey, authority.CA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stale.Stop)
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a foreign certificate":  {func(c *Config) { c.Certificate, c.Key = foreign, foreignKey }, "does not accept our certificate"},
		"an expired certificate": {func(c *Config) { c.Certificate, c.Key = expired, expiredKey }, "renew it"},
		"an expired server":      {func(c *Config) { c.Address = stale.Address() }, "renew the server's certificate"},
		"another authority":      {func(c *Config) { c.CA = other.CA }, "in `ca`"},
		"another name":           {func(c *Config) { c.Address = strings.Replace(c.Address, "127.0.0.1", "127.0.0.2", 1) }, "not reached"},
		"a wrong password":       {func(c *Config) { c.Password = "hunter2" }, "correct `username` and `password`"},
		"no password":            {func(c *Config) { c.Username, c.Password = "", "" }, "correct `username` and `password`"},
		"another key":            {func(c *Config) { c.Key = foreignKey }, "cannot be used"},
		"no key":                 {func(c *Config) { c.Key = "/nowhere" }, "cannot be used"},
		"no authority":           {func(c *Config) { c.CA = "/nowhere" }, "correct the path"},
		"KMIP 1.4":               {func(c *Config) { c.Protocol = "1.4" }, "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			p, err := New(t.Context(), c)
			if err == nil {
				_ = p.Close()
				t.Fatal("it connects")
			}
			if !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error means %s: %v", fault.RV(err), err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the password")
			}
		})
	}
}

// TestPyKMIPCrash kills the real server between and during calls.
func TestPyKMIPCrash(t *testing.T) {
	server := kmiptest.StartPyKMIP(t)
	p := connect(t, config(server, "1.4"))
	request := aesRequest(strings.Repeat("c", 32))
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := p.Generate(t.Context(), request); !fault.Is(err, fault.DeviceError) {
		t.Errorf("without a server: %v", err)
	}
	server.Start(t)
	again, err := p.Generate(t.Context(), request)
	if err != nil || !bytes.Equal(again.Ref, generated.Ref) {
		t.Errorf("after the restart: %v", err)
	}
}

// TestOneCall: a use of a key is one call, not two.
func TestOneCall(t *testing.T) {
	server, _, c := strict(t)
	p := connect(t, c)
	request := ecRequest(strings.Repeat("e", 32))
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	before := server.Calls(ttlv.OpGetAttributes)
	for range 5 {
		k, err := p.Key(t.Context(), provider.Reference{Identity: request.Identity, Ref: generated.Ref})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32)); err != nil {
			t.Fatal(err)
		}
	}
	if signed, asked := server.Calls(ttlv.OpSign), server.Calls(ttlv.OpGetAttributes)-before; signed != 5 || asked != 0 {
		t.Errorf("%d signatures took %d more calls", signed, asked)
	}
}
