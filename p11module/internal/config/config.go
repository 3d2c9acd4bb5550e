// Package config is the module's configuration: where the daemon is, how long to wait for it, what to log.
package config

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// DefaultTimeout is the deadline of one C_ call.
const DefaultTimeout = 30 * time.Second

// Config is what the module was told.
type Config struct {
	// Endpoints are tried in turn: unix:///path/of/socket or tcp://host:port.
	Endpoints []string
	// Timeout is the deadline of one C_ call.
	Timeout time.Duration
	// TLS is what tcp endpoints need.
	TLS TLS
	// Transport is what speaks to the daemon: "grpcwire" (also when empty), which is faster, or "grpc-go", the reference.
	Transport string
	// Log is where to log; nowhere unless told.
	Log Log
	// Source says where the configuration comes from, for the log.
	Source string
}

// TLS names the files of the client's identity, PEM. They are read at each connection, so that a renewed certificate
// needs no restart.
type TLS struct {
	Certificate string
	Key         string
	CA          string
}

// Log says where to log and from which level on.
type Log struct {
	// File is a path, or "syslog". Empty: no log.
	File string
	// Level is debug, info, warn or error.
	Level string
}

// check completes the configuration with defaults and refuses what cannot work.
func (c *Config) check() error {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < 0 {
		return c.bad("timeout is negative; give a duration such as 30s")
	}
	tcp := false
	for _, endpoint := range c.Endpoints {
		if err := checkEndpoint(endpoint); err != nil {
			return c.bad("%v", err)
		}
		tcp = tcp || strings.HasPrefix(endpoint, "tcp://")
	}
	if tcp && (c.TLS.Certificate == "" || c.TLS.Key == "" || c.TLS.CA == "") {
		return c.bad("a tcp endpoint needs tls.certificate, tls.key and tls.ca; `anyhsm enroll` makes all three")
	}
	switch c.Transport {
	case "", "grpcwire", "grpc-go":
	default:
		return c.bad("transport %q is unknown; use grpcwire or grpc-go", c.Transport)
	}
	switch c.Log.Level {
	case "":
		c.Log.Level = "warn"
	case "debug", "info", "warn", "error":
	default:
		return c.bad("log.level %q is unknown; use debug, info, warn or error", c.Log.Level)
	}
	return nil
}

// checkEndpoint refuses what is neither a socket's path nor host and port.
func checkEndpoint(endpoint string) error {
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("endpoint %q has no absolute path; write unix:///run/anyhsm/anyhsmd.sock", endpoint)
		}
		return nil
	}
	if address, ok := strings.CutPrefix(endpoint, "tcp://"); ok {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("endpoint %q has no host and port; write tcp://host:7512", endpoint)
		}
		return nil
	}
	return fmt.Errorf("endpoint %q is of no known kind; write unix:///path or tcp://host:port", endpoint)
}

// bad makes the error of a configuration. A pReserved string is an argument of C_Initialize, so CKR_ARGUMENTS_BAD; for
// anything else the standard leaves C_Initialize only CKR_GENERAL_ERROR.
func (c *Config) bad(format string, args ...any) error {
	kind := fault.Internal
	if c.Source == reservedSource {
		kind = fault.KindOf(cryptoki.CKR_ARGUMENTS_BAD)
	}
	return fault.New(kind, "%s: %s", c.Source, fmt.Sprintf(format, args...))
}
