package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// clients make handshakes at the same time, enough to keep both of nginx's workers busy.
const (
	clients = 8
	workers = 2
)

// keyFile is nginx with its key in a file, without any module.
const keyFile = "key file"

// nginx measures full TLS 1.3 handshakes a second with nginx's key behind each target, in turn.
func (l *laboratory) nginx(seconds float64, rounds int) ([]figures, error) {
	var all []figures
	for _, key := range []struct{ op, label, algorithm, option string }{
		{"nginx-p256", "bench-p256", "EC", "ec_paramgen_curve:P-256"},
		{"nginx-rsa2048", "bench-rsa", "RSA", "rsa_keygen_bits:2048"},
	} {
		type site struct {
			target, address string
			server          *exec.Cmd
			// daemon is what nginx's module calls; 0 if nothing.
			daemon int
		}
		var sites []site
		file := filepath.Join(l.dir, key.op+".key")
		if _, err := output(os.Environ(), "openssl", "genpkey", "-algorithm", key.algorithm, "-pkeyopt", key.option, "-out", file); err != nil {
			return nil, err
		}
		server, address, err := l.site(filepath.Join(l.dir, key.op), os.Environ(), file, "-key", file)
		if err != nil {
			return nil, fmt.Errorf("nginx with a key file: %w", err)
		}
		sites = append(sites, site{keyFile, address, server, 0})
		for _, t := range l.targets {
			on := t.tokens[forTLS]
			dir := filepath.Join(l.dir, key.op+"-"+t.name)
			conf := filepath.Join(l.dir, t.name+"-openssl.cnf")
			text := fmt.Sprintf("openssl_conf = start\n[start]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n"+
				"MODULE_PATH = %s\ninit = 1\n[req]\ndistinguished_name = name\n[name]\n", t.module)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				return nil, err
			}
			uri := fmt.Sprintf("pkcs11:token=%s;object=%s;type=private?pin-value=%s", on.label, key.label, pin)
			env := append(append(os.Environ(), on.env...), "OPENSSL_CONF="+conf)
			server, address, err := l.site(dir, env, "engine:pkcs11:"+uri, "-engine", "pkcs11", "-keyform", "engine", "-key", uri)
			if err != nil {
				return nil, fmt.Errorf("nginx with %s: %w", t.name, err)
			}
			sites = append(sites, site{t.name, address, server, on.server})
		}
		taken := make([][]figures, len(sites))
		for range rounds {
			for i, s := range sites {
				before, daemonBefore := cpuOf(s.server.Process.Pid), cpuOf(s.daemon)
				f := handshakes(s.address, seconds)
				if f.Error == "" {
					// The time to warm up counts too, on both sides of the division.
					made := float64(f.Count) * (1 + warmth) * 1000
					f.ClientCPU = float64(cpuOf(s.server.Process.Pid)-before) / made
					f.ServerCPU = float64(cpuOf(s.daemon)-daemonBefore) / made
				}
				f.Target, f.Op = s.target, key.op
				taken[i] = append(taken[i], f)
			}
		}
		for i, s := range sites {
			all = append(all, median(taken[i]))
			l.stop(s.server)
		}
	}
	return all, nil
}

// site makes a certificate with a key and serves it.
func (l *laboratory) site(dir string, env []string, key string, request ...string) (*exec.Cmd, string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	certificate := filepath.Join(dir, "crt")
	request = append([]string{"req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-out", certificate}, request...)
	if _, err := output(env, "openssl", request...); err != nil {
		return nil, "", err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	var temporary, kept strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	// nginx clears its workers' environment but for these.
	for _, name := range []string{"ANYHSM_CONFIG", "SOFTHSM2_CONF", "P11_KIT_SERVER_ADDRESS", "OPENSSL_CONF"} {
		fmt.Fprintf(&kept, "env %s;\n", name)
	}
	file := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("user root;\nworker_processes %d;\ndaemon off;\npid %s/pid;\nerror_log %s/error.log error;\n%sevents { worker_connections 256; }\n"+
		"http {\n%saccess_log off;\nssl_session_cache off;\nssl_session_tickets off;\nserver {\nlisten %s ssl;\nssl_protocols TLSv1.3;\n"+
		"ssl_certificate %s;\nssl_certificate_key \"%s\";\nreturn 200;\n}\n}\n", workers, dir, dir, kept.String(), temporary.String(), address, certificate, key)
	if os.Getuid() != 0 {
		text = strings.TrimPrefix(text, "user root;\n")
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	server := exec.Command("nginx", "-c", file, "-p", dir)
	server.Env = env
	return server, address, l.run(server, func() bool { return shake(address) == nil })
}

// shake makes one full handshake.
func shake(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// The certificate is nobody's. That the server has the key to it is verified all the same.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	// Without a reset the machine runs out of ports.
	_ = conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
	return conn.Close()
}

// warmth is the part of a measurement's time that goes before it.
const warmth = 0.2

// handshakes counts what several clients get in a time.
func handshakes(address string, seconds float64) figures {
	f := figures{Threads: clients}
	warm := time.Now().Add(time.Duration(seconds * float64(time.Second) * warmth))
	end := warm.Add(time.Duration(seconds * float64(time.Second)))
	var mu sync.Mutex
	var took []time.Duration
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				err := shake(address)
				mu.Lock()
				switch {
				case err != nil:
					f.Error = err.Error()
				case start.After(warm):
					took = append(took, time.Since(start))
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	group.Wait()
	if len(took) == 0 {
		f.Error += " no handshake"
		return f
	}
	slices.Sort(took)
	at := func(q float64) float64 { return quantile(took, q).Seconds() * 1e6 }
	f.Count, f.PerSecond, f.P50, f.P99, f.P999 = len(took), float64(len(took))/seconds, at(0.5), at(0.99), at(0.999)
	return f
}

// quantile of what is sorted.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(float64(len(sorted)-1)*q)]
}
