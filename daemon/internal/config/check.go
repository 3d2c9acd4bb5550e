package config

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
)

var (
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	identity     = regexp.MustCompile(`^(uid:(0|[1-9][0-9]{0,9})|cert:[0-9a-f]{64})$`)
	hostName     = regexp.MustCompile(`^(\*\.)?([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
)

// A Unix socket's address holds 107 bytes and a zero.
const maxSocketPath = 107

// StorePath returns the path of the store's file, empty where it is on a database server.
func (c Config) StorePath() string {
	if c.onServer() {
		return ""
	}
	return strings.TrimPrefix(c.Store, "sqlite:")
}

func (c Config) onServer() bool {
	return strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://")
}

// check tells what is wrong with one source of a root key.
func (k RootKey) check(name string, wrong func(format string, args ...any)) {
	switch {
	case k.File != "" && k.Passphrase != "":
		wrong("%s: both file and passphrase are given; keep the one that the store was made with", name)
	case k.File != "" && !filepath.IsAbs(k.File):
		wrong("%s.file: %q is no absolute path; give one", name, k.File)
	case k.Passphrase != "":
		if err := k.Passphrase.check(); err != nil {
			wrong("%s.passphrase: %v", name, err)
		}
	}
}

// check returns every problem as a sentence.
func (c Config) check() []string {
	var problems []string
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	c.checkStore(wrong)
	for _, admin := range c.Admins {
		if !identity.MatchString(admin) {
			wrong("admins: %q is no identity; write uid:N or cert:HEX", admin)
		}
	}
	if c.Prices != "" && !filepath.IsAbs(c.Prices) {
		wrong("prices: %q is no absolute path; give one, or remove it for the prices that are built in", c.Prices)
	}
	c.Listen.check(wrong)
	c.RootKey.check("root_key", wrong)
	if next := c.RootKey.Next; next != nil {
		next.check("root_key.next", wrong)
		switch {
		case next.File == "" && next.Passphrase == "":
			wrong("root_key.next: neither file nor passphrase is given; give the one that comes next")
		case next.Next != nil:
			wrong("root_key.next.next: there is only one next root key; remove it")
		}
	}
	if c.Login.MaxFailed < 1 || c.Login.MaxFailed > 1000 {
		wrong("login.max_failed: %d is out of range; choose 1 to 1000", c.Login.MaxFailed)
	}
	if life := time.Duration(c.Login.TicketLifetime); life < time.Minute || life > 30*24*time.Hour {
		wrong("login.ticket_lifetime: %s is out of range; choose 1m to 720h", life)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		wrong("log.level: %q is unknown; choose debug, info, warn or error", c.Log.Level)
	}
	switch c.Log.Format {
	case "text", "json":
	default:
		wrong("log.format: %q is unknown; choose text or json", c.Log.Format)
	}
	seen := map[string]bool{}
	for i, p := range c.Providers {
		if seen[p.Name] {
			wrong("provider %q: the name is given twice; rename one", p.Name)
		}
		seen[p.Name] = true
		p.check(i+1, wrong)
	}
	return problems
}

func (c Config) checkStore(wrong func(string, ...any)) {
	if c.StorePassword != "" {
		if err := c.StorePassword.check(); err != nil {
			wrong("store_password: %v", err)
		}
	}
	if c.onServer() {
		if err := keystore.CheckURL(c.Store); err != nil {
			wrong("%v", err) // it names the key, and never repeats a password
		}
		return
	}
	if c.StorePassword != "" {
		wrong("store_password: a file has no password; remove it, or give store = \"postgres://user@host/database\"")
	}
	if scheme, _, ok := strings.Cut(c.Store, ":"); ok && scheme != "sqlite" {
		wrong("store: %q is not supported; give a path, sqlite:/path or postgres://user@host/database", scheme)
	} else if !filepath.IsAbs(c.StorePath()) {
		wrong("store: %q is no absolute path; give one, as /var/lib/anyhsm/anyhsm.db", c.StorePath())
	}
}

func (l Listen) check(wrong func(string, ...any)) {
	switch l.Transport {
	case "", "grpcwire", "grpc-go":
	default:
		wrong("listen.transport: %q is unknown; choose grpcwire or grpc-go", l.Transport)
	}
	switch {
	case l.Unix == "" && l.TCP == "":
		wrong("listen: neither unix nor tcp is given, so nobody could reach the daemon; give one")
	case l.Unix != "" && !filepath.IsAbs(l.Unix):
		wrong("listen.unix: %q is no absolute path; give one, as /run/anyhsm/anyhsmd.sock", l.Unix)
	case len(l.Unix) > maxSocketPath:
		wrong("listen.unix: the path has %d bytes, a Unix socket's at most %d; choose a shorter one", len(l.Unix), maxSocketPath)
	}
	if err := checkAddress(l.TCP); err != nil {
		wrong("listen.tcp: %v", err)
	}
	if err := checkAddress(l.Metrics); err != nil {
		wrong("listen.metrics: %v", err)
	}
	for _, name := range l.Advertise {
		if net.ParseIP(name) == nil && !hostName.MatchString(name) {
			wrong("listen.advertise: %q is neither a host name nor an address; write it without port, as hsm.example.org", name)
		}
	}
}

func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address with a port; write it as 127.0.0.1:7512", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return fmt.Errorf("%q: %q is no port number; choose 1 to 65535", address, port)
	}
	if host != "" && net.ParseIP(host) == nil && !hostName.MatchString(host) {
		return fmt.Errorf("%q: %q is neither an address nor a host name", address, host)
	}
	return nil
}

// check looks at one [[provider]]; what only its kind's package knows, that package checks when it starts.
func (p Provider) check(number int, wrong func(string, ...any)) {
	name := fmt.Sprintf("provider %q", p.Name)
	if !providerName.MatchString(p.Name) {
		wrong("provider number %d: %q is no name; use lower-case letters, digits, '.', '_' and '-'", number, p.Name)
		name = fmt.Sprintf("provider number %d", number)
	}
	if p.Kind == "" {
		wrong("%s: kind is missing; add kind = \"software\" or \"hsm\"", name)
		return
	}
	if p.Name == Software && p.Kind != Software {
		wrong("%s: this name belongs to the embedded provider; choose another", name)
	}
	for _, block := range []struct {
		kind string
		set  bool
	}{
		{"awskms", p.AWSKMS != nil},
		{"gcpkms", p.GCPKMS != nil},
		{"azurekv", p.AzureKV != nil},
		{"kmip", p.KMIP != nil},
		{"vault", p.Vault != nil},
	} {
		if block.set && block.kind != p.Kind {
			wrong("%s: [provider.%s] means nothing for kind %q; remove it", name, block.kind, p.Kind)
		}
	}
	if p.AWSKMS != nil {
		p.AWSKMS.check(name, wrong)
	}
	if p.Kind == "gcpkms" {
		block := GCPKMS{}
		if p.GCPKMS != nil {
			block = *p.GCPKMS
		}
		block.check(name, wrong)
	}
	if p.Kind == "kmip" {
		block := KMIP{}
		if p.KMIP != nil {
			block = *p.KMIP
		}
		block.check(name, wrong)
	}
	if p.Kind == "vault" {
		block := Vault{}
		if p.Vault != nil {
			block = *p.Vault
		}
		block.check(name, wrong)
	}
	if p.Kind == "azurekv" {
		block := AzureKV{}
		if p.AzureKV != nil {
			block = *p.AzureKV
		}
		block.check(name, wrong)
	}
	if p.Kind != "hsm" {
		for _, key := range []struct {
			name string
			set  bool
		}{
			{"library", p.Library != ""},
			{"token", p.Token != ""},
			{"serial", p.Serial != ""},
			{"slot", p.Slot != nil},
			{"pin", p.PIN != ""},
			{"sessions", p.Sessions != 0},
			{"user_type", p.UserType != 0},
			{"init_args", p.InitArgs != ""},
		} {
			if key.set {
				wrong("%s: %s means nothing for kind %q; remove it", name, key.name, p.Kind)
			}
		}
		return
	}
	if !filepath.IsAbs(p.Library) {
		wrong("%s: library must be the absolute path of a PKCS#11 library, as /usr/lib/softhsm/libsofthsm2.so", name)
	}
	selectors := 0
	for _, given := range []bool{p.Token != "", p.Serial != "", p.Slot != nil} {
		if given {
			selectors++
		}
	}
	if selectors != 1 {
		wrong("%s: give exactly one of token, serial and slot, to say which token of the library is meant", name)
	}
	// A token that needs no login, or has a PIN pad, has no pin here.
	if p.PIN != "" {
		if err := p.PIN.check(); err != nil {
			wrong("%s: pin: %v", name, err)
		}
	}
	// 0 is the security officer, who uses no keys, and 2 a second login for one key.
	if p.UserType == 2 || p.UserType > 1<<32-1 {
		wrong("%s: user_type = %d is no user that logs in to use keys; remove it for CKU_USER, or give the number that the HSM's manual has", name, p.UserType)
	}
	if strings.ContainsRune(p.InitArgs, 0) {
		wrong("%s: init_args has a zero byte, where the library would stop to read; remove it", name)
	}
	if p.Sessions < 1 || p.Sessions > 1024 {
		wrong("%s: sessions = %d is out of range; choose 1 to 1024", name, p.Sessions)
	}
}
