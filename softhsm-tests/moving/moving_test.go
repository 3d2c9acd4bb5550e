package moving

import (
	"crypto/tls"
	"testing"
)

// TestTLS moves the key of a server through the providers, one after the other, under load. The server is not told, its
// certificate stays the same, and no handshake fails.
func TestTLS(t *testing.T) {
	for _, key := range []struct{ kind, label, id string }{{"rsa:2048", "rsa", "01"}, {"EC:prime256v1", "p256", "02"}} {
		t.Run(key.label, func(t *testing.T) {
			l := newLaboratory(t, "")
			l.GenerateKeyPair(t, key.kind, key.label, key.id)
			l.certify(t, key.label)
			site := serve(t, l.Target, key.label)
			site.handshakes(t, "in software")

			ended, failed := make(chan struct{}), make(chan error, 1)
			go func() {
				defer close(failed)
				for {
					select {
					case <-ended:
						return
					default:
					}
					if err := site.get(tls.VersionTLS13); err != nil {
						failed <- err
						return
					}
				}
			}()
			for _, to := range []string{"hsm", "aws"} {
				if p := l.place(t, "copy", key.label, "--to", to); p.Known || p.Proof == "" {
					t.Errorf("copied to %s: %+v", to, p)
				}
			}
			if used, _ := l.place(t, "copy", key.label, "--to", "aws").used(); used != "software hsm aws" || l.holds(t, "aws") != 1 || l.holds(t, "hsm") != 1 {
				t.Errorf("after the copies the key is in %q", used)
			}
			// Alone in each provider, so that nothing else could have served.
			for _, to := range []string{"hsm", "aws", "software"} {
				p := l.place(t, "move", key.label, "--to", to)
				if used, retired := p.used(); used != to || retired == "" {
					t.Fatalf("moved to %s: in use in %q, retired in %q", to, used, retired)
				}
				site.handshakes(t, "in "+to)
			}
			close(ended)
			if err := <-failed; err != nil {
				t.Errorf("a handshake under way failed: %v", err)
			}
			l.Daemon.CLI(t, "key", "retire", key.label, "--from", "aws", "--destroy", "--yes", "--token", l.Token)
			l.Daemon.CLI(t, "key", "retire", key.label, "--from", "hsm", "--destroy", "--yes", "--token", l.Token)
			if l.holds(t, "hsm") != 0 {
				t.Error("a destroyed key is still in the HSM")
			}
			site.handshakes(t, "after the others were destroyed")
			if key.label == "rsa" {
				// AWS signs with it and does not decrypt: what would be lost for ever is refused.
				l.fails(t, "cannot decrypt", "key", "move", key.label, "--to", "aws", "--destroy-old", "--yes")
			}
			l.Daemon.CLI(t, "audit", "verify")
		})
	}
}

// TestHSMKeys: a key that was made extractable leaves an HSM wrapped, one that was not is refused.
func TestHSMKeys(t *testing.T) {
	l := newLaboratory(t, "")
	l.Daemon.CLI(t, "token", "create", "device", "--provider", "hsm", "--no-login")
	l.Token = "device"
	for _, kind := range []string{"ec:p256", "rsa:2048"} {
		label := "open " + kind
		l.Daemon.CLI(t, "key", "create", label, "--type", kind, "--extractable", "--token", "device")
		l.certify(t, label)
		for _, to := range []string{"software", "aws"} {
			if used, retired := l.place(t, "move", label, "--to", to).used(); used != to || retired == "" {
				t.Errorf("%s is in %q, retired in %q", label, used, retired)
			}
			l.signs(t, label)
		}
	}
	l.Daemon.CLI(t, "key", "create", "closed", "--type", "ec:p256", "--token", "device")
	before := l.holds(t, "aws")
	for _, to := range []string{"software", "aws"} {
		l.fails(t, "CKA_EXTRACTABLE is false", "key", "copy", "closed", "--to", to)
	}
	if l.holds(t, "aws") != before {
		t.Error("a refused copy has left a key in AWS KMS, which bills it")
	}
	l.fails(t, "no provider", "key", "copy", "closed", "--to", "nowhere")
	// AWS KMS gives nothing out.
	l.Daemon.CLI(t, "key", "retire", "open ec:p256", "--from", "software", "--destroy", "--yes", "--token", "device")
	l.Daemon.CLI(t, "key", "retire", "open ec:p256", "--from", "hsm", "--destroy", "--yes", "--token", "device")
	l.fails(t, "cannot leave provider aws", "key", "copy", "open ec:p256", "--to", "software")
	l.signs(t, "open ec:p256")
}

// TestAway: a service that is away is told, nothing is recorded, and the same command succeeds later.
func TestAway(t *testing.T) {
	l := newLaboratory(t, "")
	l.GenerateKeyPair(t, "EC:prime256v1", "key", "01")
	l.certify(t, "key")
	l.aws.setShut(true)
	l.fails(t, "AWS KMS", "key", "copy", "key", "--to", "aws", "--timeout", "5s")
	l.signs(t, "key")
	if used, retired := l.place(t, "move", "key", "--to", "software").used(); used != "software" || retired != "" {
		t.Errorf("the key is in %q, retired in %q", used, retired)
	}
	l.aws.setShut(false)
	// In the middle: the key is made, and the service goes away before the material is there.
	held := l.aws.holdOnce("ImportKeyMaterial", false)
	go func() {
		<-held
		l.aws.setShut(true)
	}()
	l.fails(t, "", "key", "copy", "key", "--to", "aws", "--timeout", "10s")
	l.aws.setShut(false)
	if used, _ := l.place(t, "copy", "key", "--to", "aws").used(); used != "software aws" || l.holds(t, "aws") != 1 {
		t.Errorf("the key is in %q; AWS has %d", used, l.holds(t, "aws"))
	}
	l.place(t, "move", "key", "--to", "aws")
	l.signs(t, "key")
}
