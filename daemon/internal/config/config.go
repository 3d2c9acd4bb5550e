// Package config reads the daemon's configuration. A key that it does not know is an error that names the key and
// its line; secrets are references to a file or the environment, never values.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Config is the daemon's configuration.
type Config struct {
	// Store is a path, "sqlite:/path", or "postgres://user@host/database" for the store of several daemons.
	Store string `toml:"store"`
	// StorePassword is the password for the database server.
	StorePassword Secret `toml:"store_password,omitempty"`
	// Prices is a file with what services ask for keys and calls; empty for the prices that are built in.
	Prices string `toml:"prices,omitempty"`
	// Admins are the identities that may administer: uid:N or cert:HEX.
	Admins    []string   `toml:"admins"`
	Listen    Listen     `toml:"listen"`
	RootKey   RootKey    `toml:"root_key"`
	Audit     Audit      `toml:"audit"`
	Login     Login      `toml:"login"`
	Log       Log        `toml:"log"`
	Providers []Provider `toml:"provider"`

	// File is where the configuration was read from, empty for the defaults.
	File string `toml:"-"`
}

// Listen says where the daemon listens. An empty address turns a listener off.
type Listen struct {
	Unix string `toml:"unix"`
	TCP  string `toml:"tcp"`
	// Advertise holds the names and addresses that clients dial, for the server's certificate.
	Advertise []string `toml:"advertise"`
	Metrics   string   `toml:"metrics"`
	// Transport is what serves gRPC: "grpcwire" (also when empty), which is faster, or "grpc-go", the reference.
	Transport string `toml:"transport,omitempty"`
}

// RootKey says where the key comes from under which everything in the store is sealed: a file or a passphrase.
type RootKey struct {
	File       string `toml:"file,omitempty"`
	Passphrase Secret `toml:"passphrase,omitempty"`
	// Next is where the next root key comes from, for a rotation that changes the source. Without it the next key is
	// FILE.next, and takes the file's name.
	Next *RootKey `toml:"next,omitempty"`
}

// Audit says how careful the audit of key uses is.
type Audit struct {
	// Strict makes each use of a key durable in the audit log before it is answered.
	Strict bool `toml:"strict"`
}

// Login says how PINs and tickets are handled.
type Login struct {
	// MaxFailed is the number of wrong PINs after which a PIN is locked.
	MaxFailed int `toml:"max_failed"`
	// TicketLifetime is how long a login is good for without being renewed.
	TicketLifetime Duration `toml:"ticket_lifetime"`
}

// Log says how much the daemon logs: debug, info, warn or error, as text or json.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Provider is one provider instance. Which keys it needs depends on its kind.
type Provider struct {
	Name string `toml:"name"`
	Kind string `toml:"kind"`

	// What follows belongs to kind hsm.
	Library  string  `toml:"library,omitempty"`
	Token    string  `toml:"token,omitempty"`
	Serial   string  `toml:"serial,omitempty"`
	Slot     *uint64 `toml:"slot,omitempty"`
	PIN      Secret  `toml:"pin,omitempty"`
	Sessions int     `toml:"sessions,omitempty"`
	// UserType is the CKU_ value to log in with; 0 for CKU_USER.
	UserType uint64 `toml:"user_type,omitempty"`
	// InitArgs is what the library wants to hear in C_Initialize.
	InitArgs string `toml:"init_args,omitempty"`

	// AWSKMS belongs to kind awskms: the block of a kind has the kind's name.
	AWSKMS *AWSKMS `toml:"awskms,omitempty"`
	// GCPKMS belongs to kind gcpkms.
	GCPKMS *GCPKMS `toml:"gcpkms,omitempty"`
	// AzureKV belongs to kind azurekv.
	AzureKV *AzureKV `toml:"azurekv,omitempty"`
	// KMIP belongs to kind kmip.
	KMIP *KMIP `toml:"kmip,omitempty"`
	// Vault belongs to kind vault.
	Vault *Vault `toml:"vault,omitempty"`
}

// Duration is a time.Duration that reads and writes itself as "12h".
type Duration time.Duration

// UnmarshalText reads "90s", "12h" and so on.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration; write it as \"90s\" or \"12h\"", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Load reads the configuration: from path if there is one, else from the first that exists of $ANYHSMD_CONFIG and
// /etc/anyhsm/anyhsmd.toml, else it is the defaults. All problems are reported at once.
func Load(path string) (Config, error) {
	explicit := path != ""
	if !explicit {
		path = os.Getenv("ANYHSMD_CONFIG")
		explicit = path != ""
	}
	if !explicit {
		path = systemFile
	}
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist) && !explicit:
		return Parse(nil, "")
	case errors.Is(err, os.ErrNotExist):
		return Config{}, fmt.Errorf("there is no configuration file %s; give its path with --config, or leave the option away for the defaults", path)
	default:
		return Config{}, fmt.Errorf("the configuration cannot be read: %w; make it readable for uid %d", err, os.Getuid())
	}
	return Parse(text, path)
}

// Parse reads a configuration's text; file is its name in error messages. What the text leaves out has its default.
func Parse(text []byte, file string) (Config, error) {
	c := Default()
	c.File = file
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Config{}, explain(err, file)
	}
	c.complete()
	if problems := c.check(); len(problems) > 0 {
		for i := range problems {
			problems[i] = place(file) + problems[i]
		}
		return Config{}, errors.New(strings.Join(problems, "\n"))
	}
	return c, nil
}

// String returns the effective configuration as TOML, with the references to secrets as they are.
func (c Config) String() string {
	var b bytes.Buffer
	encoder := toml.NewEncoder(&b)
	encoder.SetIndentTables(false)
	if err := encoder.Encode(c); err != nil {
		return "# the configuration cannot be shown: " + err.Error() + "\n"
	}
	return b.String()
}

// explain turns what the TOML reader says into sentences with file, line and key.
func explain(err error, file string) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var lines []string
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, _ := e.Position()
			lines = append(lines, fmt.Sprintf("%sline %d: unknown key %q; correct or remove it (docs/configuration.md lists all keys)",
				place(file), row, strings.Join(e.Key(), ".")))
		}
		return errors.New(strings.Join(lines, "\n"))
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, _ := syntax.Position()
		where := ""
		if key := strings.Join(syntax.Key(), "."); key != "" {
			where = key + ": "
		}
		return fmt.Errorf("%sline %d: %s%s; correct this line", place(file), row, where, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	return fmt.Errorf("%s%s; correct the file", place(file), strings.TrimPrefix(err.Error(), "toml: "))
}

func place(file string) string {
	if file == "" {
		return "configuration: "
	}
	return file + ": "
}
