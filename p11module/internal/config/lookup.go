package config

import (
	"os"
	"path/filepath"
)

const (
	systemFile   = "/etc/anyhsm/module.toml"
	systemSocket = "/run/anyhsm/anyhsmd.sock"
)

// Load finds the configuration: the pReserved string of C_Initialize if it is ours, the file that ANYHSM_CONFIG names,
// ~/.config/anyhsm/module.toml, /etc/anyhsm/module.toml, else the default sockets. The first one found is the whole
// configuration.
func Load(reserved string) (Config, error) {
	return process().load(reserved)
}

// host is what the process that loaded us says about itself.
type host struct {
	// secure: the process has more rights than its caller (AT_SECURE), so that environment and home directory, which
	// are the caller's, must not steer it.
	secure      bool
	environment func(string) string
	system      string
}

// Environment looks a variable up, "" if there is none. The module puts C's getenv here: a Go runtime in a shared
// library sees the environment that the process started with, not what the host has set since.
var Environment = os.Getenv

func process() host {
	return host{secure: secureExecution(), environment: Environment, system: systemFile}
}

func (h host) load(reserved string) (Config, error) {
	c, ours, err := h.reserved(reserved)
	if err != nil || ours {
		return c, err
	}
	if !h.secure {
		if path := h.environment("ANYHSM_CONFIG"); path != "" {
			return h.file(path, "ANYHSM_CONFIG="+path)
		}
		// A host without HOME (nginx clears its workers' environment) has no home directory to look in.
		if home := h.environment("HOME"); filepath.IsAbs(home) {
			path := filepath.Join(home, ".config", "anyhsm", "module.toml")
			if readable(path) {
				return h.file(path, path)
			}
		}
	}
	if exists(h.system) {
		return h.file(h.system, h.system)
	}
	return h.finish(Config{Source: "default sockets"})
}

// finish adds the default endpoint and checks.
func (h host) finish(c Config) (Config, error) {
	if len(c.Endpoints) == 0 {
		c.Endpoints = []string{"unix://" + h.socket()}
	}
	return c, c.check()
}

// socket is the user's own daemon if there is one, else the system's.
func (h host) socket() string {
	if !h.secure {
		if runtime := h.environment("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
			if path := filepath.Join(runtime, "anyhsm", "anyhsmd.sock"); exists(path) {
				return path
			}
		}
	}
	return systemSocket
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil || !os.IsNotExist(err) && !os.IsPermission(err)
}

// readable tells whether a file in the home directory is there for us: a daemon that dropped its rights may still
// carry root's HOME, whose files it cannot read and was not meant to.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return !os.IsNotExist(err) && !os.IsPermission(err)
	}
	_ = f.Close()
	return true
}
