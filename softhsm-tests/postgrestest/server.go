// Package postgrestest gives tests a PostgreSQL of their own: Debian's server on a data directory of its own, one for a
// test program, and in it a fresh database for each test.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// User owns the databases; its password is asked for over TCP only.
const User, Password = "anyhsm", "postgres-pw-77"

// patience is how long a server may take to start or to end.
const patience = 30 * time.Second

// Server is a running PostgreSQL.
type Server struct {
	// Dir holds its data and its Unix socket; Port is that of 127.0.0.1.
	Dir  string
	Port int

	programs   string
	credential *syscall.Credential
	process    *exec.Cmd
	ended      chan struct{}
	addresses  []string
	log        *os.File
	databases  atomic.Int64
}

var (
	once   sync.Once
	shared *Server
	failed error
)

// Shared returns the server of this test program, and starts it the first time. TestMain must call Stop at the end.
func Shared(t testing.TB) *Server {
	t.Helper()
	once.Do(func() { shared, failed = start() })
	if failed != nil {
		t.Fatal(failed)
	}
	return shared
}

// Stop ends the server of this test program, if it was started.
func Stop() {
	if shared != nil {
		shared.kill(syscall.SIGQUIT)
		_ = shared.log.Close()
		_ = os.RemoveAll(shared.Dir)
	}
}

// start makes a data directory and runs a server on it, not as root: that it refuses.
func start() (*Server, error) {
	programs, err := installed()
	if err != nil {
		return nil, err
	}
	// The path of a Unix socket must be short.
	dir, err := os.MkdirTemp("", "anyhsm-pg")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, programs: programs}
	if err := s.prepare(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	if err := s.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// installed returns the directory of the newest server's programs.
func installed() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no PostgreSQL in /usr/lib/postgresql; run: make install-packages")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func (s *Server) prepare() error {
	if os.Getuid() == 0 {
		account, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(account.Uid)
		gid, _ := strconv.Atoi(account.Gid)
		s.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.Dir, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	if s.log, err = os.Create(filepath.Join(s.Dir, "log")); err != nil {
		return err
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if err := initdb.Run(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, s.Log())
	}
	rules := "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	return os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) command(program string, arguments ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.programs, program), arguments...)
	command.Dir, command.Stdout, command.Stderr = s.Dir, s.log, s.log
	// A test program that dies takes its server along.
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Pdeathsig: syscall.SIGQUIT}
	return command
}

// Start runs the server and returns when it answers. After Kill the first tries fail: the children of the server before
// must have ended.
func (s *Server) Start() error {
	deadline := time.Now().Add(patience)
	if err := s.run(); err != nil {
		return err
	}
	for {
		err := s.try("postgres", "SELECT 1")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, s.Log())
		}
		select {
		case <-s.ended:
			if err := s.run(); err != nil {
				return err
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s.try("postgres", fmt.Sprintf(`DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%s') THEN
		CREATE ROLE %s LOGIN PASSWORD '%s'; END IF; END $$`, User, User, Password))
}

func (s *Server) run() error {
	process := s.command("postgres", "-D", s.data(), "-k", s.Dir, "-h", strings.Join(append([]string{"127.0.0.1"}, s.addresses...), ","),
		"-p", strconv.Itoa(s.Port),
		"-c", "max_connections=300", "-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "log_checkpoints=off")
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = process.Wait(); close(ended) }()
	s.process, s.ended = process, ended
	return nil
}

// Admit restarts the server so that it listens on more addresses of this host and lets in who connects to them.
func (s *Server) Admit(addresses ...string) error {
	s.addresses = addresses
	rules, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = rules.WriteString("host all all samenet scram-sha-256\n")
	if err := errors.Join(err, rules.Close()); err != nil {
		return err
	}
	s.Shut()
	return s.Start()
}

// Crash ends the server as a loss of power would: nothing is finished.
func (s *Server) Crash() { s.kill(syscall.SIGQUIT) }

// Shut ends the server as its administrator would; who is connected is thrown out.
func (s *Server) Shut() { s.kill(syscall.SIGINT) }

// Kill ends the server's first process as a lack of memory would: nobody ends the others.
func (s *Server) Kill() { s.kill(syscall.SIGKILL) }

func (s *Server) kill(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	<-s.ended
	s.process = nil
}

// Log is what the server wrote last.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// Database makes an empty database that goes with the test, and returns its URL over the Unix socket.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Run(t, "postgres", fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, User))
	t.Cleanup(func() { s.Run(t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return s.URL(name)
}

// URL is that of a database over the Unix socket, where no password is asked for.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", User, database, s.Dir, s.Port)
}

// Run runs a statement as the server's administrator.
func (s *Server) Run(t testing.TB, database, statement string) {
	t.Helper()
	if err := s.try(database, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (s *Server) try(database, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%d", database, s.Dir, s.Port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}
