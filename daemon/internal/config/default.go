package config

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const systemFile = "/etc/anyhsm/anyhsmd.toml"

// Software is the kind and the name of the provider that is always there.
const Software = "software"

// Default returns the configuration of a daemon without a file: the system's directories for root, the user's own for
// anybody else.
func Default() Config {
	state, socket := directories(os.Getuid())
	return Config{
		Store:   filepath.Join(state, "anyhsm.db"),
		Listen:  Listen{Unix: socket, Advertise: []string{}},
		RootKey: RootKey{},
		Login:   Login{MaxFailed: 10, TicketLifetime: Duration(12 * time.Hour)},
		Log:     Log{Level: "info", Format: "text"},
	}
}

func directories(uid int) (state, socket string) {
	if uid == 0 {
		return "/var/lib/anyhsm", "/run/anyhsm/anyhsmd.sock"
	}
	state = os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			home = filepath.Join(os.TempDir(), "anyhsm-"+strconv.Itoa(uid))
		}
		state = filepath.Join(home, ".local", "state")
	}
	state = filepath.Join(state, "anyhsm")
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		// Without a session there is no runtime directory; /run/user/N would not exist either.
		return state, filepath.Join(state, "anyhsmd.sock")
	}
	return state, filepath.Join(runtime, "anyhsm", "anyhsmd.sock")
}

// complete fills in what depends on other keys.
func (c *Config) complete() {
	if c.Admins == nil {
		c.Admins = []string{"uid:0"}
		if own := "uid:" + strconv.Itoa(os.Getuid()); own != "uid:0" {
			c.Admins = append(c.Admins, own)
		}
	}
	if c.RootKey.File == "" && c.RootKey.Passphrase == "" {
		directory := filepath.Dir(c.StorePath())
		if c.onServer() {
			directory, _ = directories(os.Getuid())
		}
		c.RootKey.File = filepath.Join(directory, "root.key")
	}
	if !slices.ContainsFunc(c.Providers, func(p Provider) bool { return p.Name == Software }) {
		c.Providers = append([]Provider{{Name: Software, Kind: Software}}, c.Providers...)
	}
	for i := range c.Providers {
		if c.Providers[i].Kind == "hsm" && c.Providers[i].Sessions == 0 {
			c.Providers[i].Sessions = 16
		}
		if block := c.Providers[i].KMIP; block != nil {
			block.complete()
		}
	}
}
