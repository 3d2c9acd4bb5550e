package config

import (
	"testing"
	"time"
)

func TestInherited(t *testing.T) {
	full := Config{
		Endpoints: []string{"unix:///run/anyhsmd.sock", "tcp://hsm.example:7512"}, Timeout: 1500 * time.Millisecond,
		TLS: TLS{"/c.crt", "/c.key", "/ca.crt"}, Log: Log{"/l og", "info"}, Source: "ANYHSM_CONFIG=/x",
	}
	h, _, _, _ := testHost(t, nil)
	for _, c := range []Config{full, {Endpoints: []string{"unix:///s"}, Timeout: DefaultTimeout, Log: Log{Level: "warn"}}} {
		got, ours, err := h.reserved(c.Inherited())
		if err != nil || !ours {
			t.Fatalf("%q: %v", c.Inherited(), err)
		}
		got.Source = c.Source
		if got.Inherited() != c.Inherited() || got.Timeout != c.Timeout || got.TLS != c.TLS || got.Log != c.Log ||
			len(got.Endpoints) != len(c.Endpoints) {
			t.Errorf("%q became %+v", c.Inherited(), got)
		}
	}
	for name, change := range map[string]func(*Config){
		"system file": func(c *Config) { c.Source = systemFile },
		"semicolon":   func(c *Config) { c.TLS.Key = "/a;b" },
		"blank":       func(c *Config) { c.Log.File = "/log " },
		"comma":       func(c *Config) { c.Endpoints = []string{"unix:///a,b"} },
	} {
		c := full
		change(&c)
		if text := c.Inherited(); text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}
