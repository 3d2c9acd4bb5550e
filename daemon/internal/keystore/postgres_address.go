package keystore

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	connectTimeout = 5 * time.Second
	// unanswered is how long bytes may travel without an answer before a connection counts as lost.
	unanswered = 10 * time.Second
)

// CheckURL tells what is wrong with a postgres:// URL, without connecting.
func CheckURL(dsn string) error {
	_, err := parsePostgres(dsn)
	return err
}

// parsePostgres reads a URL. It must not hold a password: messages, --check-config and the process list would show it.
func parsePostgres(dsn string) (*pgx.ConnConfig, error) {
	_, rest, _ := strings.Cut(dsn, "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	user := ""
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user = authority[:at]
	}
	parameters, err := url.ParseQuery(query)
	if strings.Contains(user, ":") || parameters.Has("password") || strings.Contains(query, "password=") {
		return nil, fault.New(fault.InvalidInput, "store: the URL holds a password; take it out, and give it as store_password = \"file:/path\", or in a PGPASSFILE")
	}
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "store: the URL's parameters cannot be read; write them as ?name=value&name=value")
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "store: %w; write it as postgres://user@host:5432/database", err)
	}
	if config.Database == "" {
		return nil, fault.New(fault.InvalidInput, "store: the URL names no database; write it as postgres://user@host:5432/database")
	}
	if !parameters.Has("sslmode") && remote(config) {
		// What is in the database is sealed, but who does what with which key is not everybody's business.
		separator := "?"
		if strings.Contains(dsn, "?") {
			separator = "&"
		}
		if config, err = pgx.ParseConfig(dsn + separator + "sslmode=verify-full"); err != nil {
			return nil, fault.New(fault.InvalidInput, "store: %w; correct the URL", err)
		}
	}
	if len(config.Fallbacks) > 0 && !parameters.Has("target_session_attrs") {
		// Of several servers the one is meant that can be written.
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if !parameters.Has("connect_timeout") {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "anyhsmd"
	}
	dialer := &net.Dialer{
		Timeout:         connectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: unanswered / 2, Interval: unanswered / 4, Count: 2},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
			})
			if err == nil {
				err = failed
			}
			return err
		},
	}
	config.DialFunc = dialer.DialContext
	return config, nil
}

// remote tells whether a server is on another machine.
func remote(c *pgx.ConnConfig) bool {
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// address names the servers, for messages.
func address(c *pgx.ConnConfig) string {
	var names []string
	seen := map[string]bool{}
	add := func(host string, port uint16) {
		name := host
		if !strings.HasPrefix(host, "/") {
			name = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		if !seen[name] {
			names = append(names, name)
		}
		seen[name] = true
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(names, ",")
}
