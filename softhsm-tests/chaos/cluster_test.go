package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

const (
	// mainToken is on the provider software, keptToken on a key server that all replicas share and that keeps the keys.
	mainToken, keptToken = "main", "kept"
	userPIN, soPIN       = "user-pin-4711", "so-pin-0815"
	database             = "chaos"
)

// cluster is all that runs but for the applications.
type cluster struct {
	dir, module string
	database    *postgrestest.Server
	disk        *disk
	network     network
	replicas    []*replica
	// programs are the daemon in two versions; an older one, from another commit, is not gone back to once a newer one has
	// changed the database's schema.
	programs [2]string
	older    bool
	upgraded atomic.Bool

	// mu guards busy; freed is told when a replica is free again.
	mu    sync.Mutex
	freed *sync.Cond
	busy  map[int]bool
}

// newCluster starts everything and makes the tokens. tables goes to the end of each replica's configuration.
func newCluster(t *testing.T, count int, tables string) *cluster {
	t.Helper()
	// Sockets need short paths, and what a failed run leaves behind is wanted.
	dir, err := os.MkdirTemp("", "anyhsm-chaos")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("configurations, logs and histories are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	c := &cluster{dir: dir, module: daemontest.Module(t), busy: map[int]bool{}}
	c.freed = sync.NewCond(&c.mu)
	daemon, cli := daemontest.Programs(t)
	c.programs = [2]string{daemon, otherVersion(t, dir)}
	if c.older = os.Getenv("CHAOS_UPGRADE_FROM") != ""; c.older {
		c.programs[0], c.programs[1] = c.programs[1], c.programs[0]
	}
	c.network = newNetwork(t, count)
	c.database = postgrestest.Shared(t)
	must(t, c.database.Admit(c.network.listen()...))
	c.disk = newDisk(t, c.database.Dir)
	c.database.Run(t, "postgres", "CREATE TABLESPACE small LOCATION '"+c.disk.space()+"'")
	c.database.Run(t, "postgres", "CREATE DATABASE "+database+" OWNER "+postgrestest.User+" TABLESPACE small")
	t.Cleanup(func() {
		c.database.Run(t, "postgres", "DROP DATABASE "+database+" WITH (FORCE)")
		c.database.Run(t, "postgres", "DROP TABLESPACE small")
	})
	keyServer := c.startKeyServer(t)
	for n := range count {
		c.replicas = append(c.replicas, c.prepare(t, n, cli, keyServer, tables))
	}
	t.Cleanup(func() {
		for _, r := range c.replicas {
			if r.process != nil {
				_ = r.signal(syscall.SIGCONT)
				if err := r.end(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for _, r := range c.replicas {
		must(t, r.start())
	}
	for token, provider := range map[string]string{mainToken: "software", keptToken: "kms"} {
		_, err := c.replicas[0].admin([]string{"USER_PIN=" + userPIN, "SO_PIN=" + soPIN},
			"token", "create", token, "--provider", provider, "--so-pin", "env:SO_PIN", "--user-pin", "env:USER_PIN")
		must(t, err)
	}
	return c
}

// otherVersion builds the daemon as another version: of the commit that CHAOS_UPGRADE_FROM names, else of this source
// with another version in it.
func otherVersion(t *testing.T, dir string) string {
	t.Helper()
	path, source := filepath.Join(dir, "anyhsmd-other"), daemontest.Root()
	if commit := os.Getenv("CHAOS_UPGRADE_FROM"); commit != "" {
		source = filepath.Join(dir, "source")
		must(t, os.Mkdir(source, 0o755))
		archive := exec.Command("sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, daemontest.Root(), commit, source)
		if out, err := archive.CombinedOutput(); err != nil {
			t.Fatalf("the source of %s: %v: %s", commit, err, out)
		}
	} else {
		t.Log("the other version of the daemon is this source with another version number; CHAOS_UPGRADE_FROM=COMMIT builds an older one")
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X github.com/anyhsm/anyhsm/internal/version.Version=chaos-other", "-o", path, "./daemon")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the other version: %v: %s", err, out)
	}
	return path
}

// keyServer is the KMIP server: its directory with certificates, and its port.
type keyServer struct{ dir, port string }

func (c *cluster) startKeyServer(t *testing.T) keyServer {
	t.Helper()
	k := keyServer{dir: filepath.Join(c.dir, "kmip")}
	must(t, os.Mkdir(k.dir, 0o755))
	program := filepath.Join(k.dir, "kmipserver")
	build := exec.Command("go", "build", "-o", program, "./daemon/internal/provider/kmip/kmiptest/kmipserver")
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the key server: %v: %s", err, out)
	}
	listen := "127.0.0.1:0"
	addresses := strings.Join(c.network.listen(), ",")
	if addresses != "" {
		listen = ":0"
	}
	process := exec.Command(program, "-directory", k.dir, "-listen", listen, "-addresses", addresses)
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	_, k.port, err = net.SplitHostPort(strings.TrimSpace(address))
	must(t, err)
	return k
}

// prepare writes a replica's configuration.
func (c *cluster) prepare(t *testing.T, n int, cli string, k keyServer, tables string) *replica {
	t.Helper()
	r := &replica{number: n, dir: filepath.Join(c.dir, fmt.Sprint("replica", n)), network: c.network, cli: cli, program: c.programs[0]}
	must(t, os.Mkdir(r.dir, 0o755))
	r.socket, r.config = filepath.Join(r.dir, "s"), filepath.Join(r.dir, "anyhsmd.toml")
	port := freePort(t)
	r.metrics = net.JoinHostPort(c.network.host(n), freePort(t))
	store, err := c.network.toBack(n, strconv.Itoa(c.database.Port))
	must(t, err)
	kmip, err := c.network.toBack(n, k.port)
	must(t, err)
	reach, err := c.network.reach(n, port)
	must(t, err)
	r.endpoint = "tcp://" + reach
	password := filepath.Join(c.dir, "database.password")
	must(t, os.WriteFile(password, []byte(postgrestest.Password), 0o600))
	text := fmt.Sprintf(`store = "postgres://%s@%s/%s?sslmode=disable"
store_password = "file:%s"
admins = ["uid:%d"]
[listen]
unix = %q
tcp = %q
advertise = [%q]
metrics = %q
[root_key]
file = %q
[[provider]]
name = "kms"
kind = "kmip"
[provider.kmip]
address = %q
certificate = %q
key = %q
ca = %q
protocol = "2.1"
%s`, postgrestest.User, store, database, password, os.Getuid(), r.socket, net.JoinHostPort(c.network.host(n), port), c.network.host(n), r.metrics,
		filepath.Join(c.dir, "root.key"), kmip, k.dir+"/client.crt", k.dir+"/client.key", k.dir+"/ca.crt", tables)
	must(t, os.WriteFile(r.config, []byte(text), 0o600))
	return r
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// enroll gives an application a new certificate, whoever of the replicas can be reached.
func (c *cluster) enroll(name string) error {
	dir := filepath.Join(c.dir, name)
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, r := range c.replicas {
			if c.isBusy(r.number) {
				continue
			}
			code, err := r.admin(nil, "app", "code", name)
			if err == nil {
				_, err = r.admin([]string{"CODE=" + strings.TrimSpace(code)}, "enroll", "--endpoint", r.endpoint, "--dir", dir, "--force", "--code", "env:CODE")
			}
			if err == nil {
				return nil
			}
			last = err
		}
	}
	return fmt.Errorf("%s cannot be enrolled: %w", name, last)
}

// addApplication registers an application, enrolls it and writes its module.toml, which names all replicas.
func (c *cluster) addApplication(t *testing.T, name string) (module string) {
	t.Helper()
	dir := filepath.Join(c.dir, name)
	must(t, os.Mkdir(dir, 0o755))
	const may = ":use+create+modify+destroy"
	_, err := c.replicas[0].admin(nil, "app", "add", name, "--grant", mainToken+may, "--grant", keptToken+may)
	must(t, err)
	must(t, c.enroll(name))
	var endpoints []string
	for _, r := range c.replicas {
		endpoints = append(endpoints, strconv.Quote(r.endpoint))
	}
	path := filepath.Join(dir, "chaos.toml")
	must(t, os.WriteFile(path, fmt.Appendf(nil, `endpoints = [%s]
timeout = "30s"
[tls]
certificate = "%[2]s/app.crt"
key = "%[2]s/app.key"
ca = "%[2]s/ca.crt"
[log]
file = "%[2]s/module.log"
`, strings.Join(endpoints, ", "), dir), 0o644))
	return path
}

// claim waits until a replica is free and another one is left beside it.
func (c *cluster) claim(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy[n] || len(c.busy) >= len(c.replicas)-1 {
		c.freed.Wait()
	}
	c.busy[n] = true
}

func (c *cluster) release(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, n)
	c.freed.Broadcast()
}

func (c *cluster) isBusy(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy[n]
}

// inject makes one fault happen, and repairs it. It returns when what was disturbed works again.
func (c *cluster) inject(f fault, names []string) error {
	var r *replica
	if !f.kind.database() && f.kind != clientRenew {
		r = c.replicas[f.target]
	}
	cut := func(sides ...side) error {
		for _, s := range sides {
			if err := c.network.cut(r.number, s); err != nil {
				return err
			}
		}
		time.Sleep(f.lasting)
		for _, s := range sides {
			if err := c.network.heal(r.number, s); err != nil {
				return err
			}
		}
		return r.wait()
	}
	restart := func(end func()) error {
		end()
		time.Sleep(f.lasting)
		return c.database.Start()
	}
	again := func(s syscall.Signal) error {
		if err := r.end(s); err != nil {
			return err
		}
		if s == syscall.SIGKILL {
			time.Sleep(f.lasting)
		}
		if c.older && c.upgraded.Load() {
			r.program = c.programs[1]
		}
		return r.start()
	}
	switch f.kind {
	case kill:
		return again(syscall.SIGKILL)
	case terminate:
		return again(syscall.SIGTERM)
	case upgrade:
		c.upgraded.Store(true)
		if r.program == c.programs[0] {
			r.program = c.programs[1]
		} else if !c.older {
			r.program = c.programs[0]
		}
		return again(syscall.SIGTERM)
	case stop:
		if err := r.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(f.lasting)
		return errors.Join(r.signal(syscall.SIGCONT), r.wait())
	case cutFront:
		return cut(front)
	case cutBack:
		return cut(back)
	case cutBoth:
		return cut(front, back)
	case serverRenew:
		return r.signal(syscall.SIGHUP)
	case clientRenew:
		return c.enroll(names[f.target])
	case databaseShut:
		return restart(c.database.Shut)
	case databaseStop:
		return restart(c.database.Crash)
	case databaseKill:
		return restart(c.database.Kill)
	case diskFull:
		if err := c.disk.fill(); err != nil {
			return err
		}
		time.Sleep(f.lasting)
		return c.disk.free()
	}
	return fmt.Errorf("nobody knows the fault %q", f.kind)
}

// query reads from the database itself.
func (c *cluster) query(t *testing.T, statement string, row func(rows pgx.Rows) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.database.URL(database))
	must(t, err)
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, statement)
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		must(t, row(rows))
	}
	must(t, rows.Err())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
