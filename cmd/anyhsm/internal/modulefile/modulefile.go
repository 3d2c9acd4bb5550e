// Package modulefile knows the configuration of the module (module.toml): where the module looks for it, how it is
// read, and how one is written. The administration CLI follows the same order, so that it speaks to the daemon that
// the applications of the same user speak to.
package modulefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Environment names the variable that points at a configuration.
const Environment = "ANYHSM_CONFIG"

// SystemPath is the configuration of the whole machine.
const SystemPath = "/etc/anyhsm/module.toml"

// SystemSocket is where a daemon that root started listens.
const SystemSocket = "/run/anyhsm/anyhsmd.sock"

// Config is the content of a module.toml.
type Config struct {
	Endpoints []string `toml:"endpoints"`
	Timeout   string   `toml:"timeout"`
	TLS       TLS      `toml:"tls"`
	Log       Log      `toml:"log"`
}

// TLS names the files for endpoints that begin with tcp://.
type TLS struct {
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	CA          string `toml:"ca"`
}

// Log says where the module writes its log; nowhere when File is empty.
type Log struct {
	File  string `toml:"file"`
	Level string `toml:"level"`
}

// Place is where a process runs: what its environment says about configurations.
type Place struct {
	// Config is ANYHSM_CONFIG.
	Config string
	// Home is the home directory, empty if there is none.
	Home string
	// RuntimeDir is XDG_RUNTIME_DIR.
	RuntimeDir string
	// Unreadable tells what the place's user may not read; nil if that is what this process may not read.
	Unreadable func(path string) bool
}

// Here is the place of this process.
func Here() Place {
	return Place{Config: os.Getenv(Environment), Home: os.Getenv("HOME"), RuntimeDir: os.Getenv("XDG_RUNTIME_DIR")}
}

// Found is the configuration that a place leads to.
type Found struct {
	// Path is the file; empty if none was found and the defaults hold.
	Path string
	// Looked lists the files that were looked for, in order, up to the one found.
	Looked []string
	Config Config
}

// Find follows the module's order: ANYHSM_CONFIG, the user's file, the machine's file, the default sockets. The module
// takes a user's file that it may not read for absent: a daemon that dropped its rights may still carry root's HOME.
func (p Place) Find() (Found, error) {
	var found Found
	if p.Config != "" {
		return found.read(p, p.Config)
	}
	if user := p.UserPath(); user != "" {
		found.Looked = append(found.Looked, user)
		if _, err := os.ReadFile(user); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !p.unreadable(user) {
			return found.read(p, user)
		}
	}
	found.Looked = append(found.Looked, SystemPath)
	if _, err := os.Stat(SystemPath); err == nil {
		return found.read(p, SystemPath)
	}
	found.Config.Endpoints = []string{"unix://" + p.DefaultSocket()}
	return found, nil
}

func (p Place) unreadable(path string) bool { return p.Unreadable != nil && p.Unreadable(path) }

// read takes the file at path for the configuration.
func (f Found) read(p Place, path string) (Found, error) {
	f.Path = path
	var err error
	if f.Config, err = Read(path); err == nil && len(f.Config.Endpoints) == 0 {
		f.Config.Endpoints = []string{"unix://" + p.DefaultSocket()}
	}
	return f, err
}

// DefaultSocket is the user's socket if it is there, else the machine's.
func (p Place) DefaultSocket() string {
	if filepath.IsAbs(p.RuntimeDir) {
		socket := filepath.Join(p.RuntimeDir, "anyhsm", "anyhsmd.sock")
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
	}
	return SystemSocket
}

// Read reads and checks one file.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read the module's configuration: %w", err)
	}
	config, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// Parse reads and checks the text of a module.toml. An unknown key is an error that names it.
func Parse(text []byte) (Config, error) {
	var config Config
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return Config{}, explain(err)
	}
	for _, endpoint := range config.Endpoints {
		if err := checkEndpoint(endpoint, config.TLS); err != nil {
			return Config{}, err
		}
	}
	if config.Timeout != "" {
		if timeout, err := time.ParseDuration(config.Timeout); err != nil || timeout <= 0 {
			return Config{}, fmt.Errorf(`timeout = %q is no duration; write for example "30s"`, config.Timeout)
		}
	}
	switch config.Log.Level {
	case "", "debug", "info", "warn", "error":
	default:
		return Config{}, fmt.Errorf("log.level = %q is unknown; choose debug, info, warn or error", config.Log.Level)
	}
	return config, nil
}

func checkEndpoint(endpoint string, files TLS) error {
	switch {
	case strings.HasPrefix(endpoint, "unix:///"):
		return nil
	case strings.HasPrefix(endpoint, "tcp://"):
		for name, path := range map[string]string{"certificate": files.Certificate, "key": files.Key, "ca": files.CA} {
			if path == "" {
				return fmt.Errorf("endpoint %s needs [tls] %s; get one with anyhsm enroll", endpoint, name)
			}
		}
		return nil
	}
	return fmt.Errorf("endpoint %q is neither unix:///PATH nor tcp://HOST:PORT", endpoint)
}

func explain(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		line, _ := unknown.Errors[0].Position()
		return fmt.Errorf("line %d: unknown key %q", line, strings.Join(unknown.Errors[0].Key(), "."))
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		line, column := syntax.Position()
		return fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	return err
}
