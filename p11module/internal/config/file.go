package config

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// document is module.toml.
type document struct {
	Endpoints []string `toml:"endpoints"`
	Timeout   string   `toml:"timeout"`
	Transport string   `toml:"transport"`
	TLS       struct {
		Certificate string `toml:"certificate"`
		Key         string `toml:"key"`
		CA          string `toml:"ca"`
	} `toml:"tls"`
	Log struct {
		File  string `toml:"file"`
		Level string `toml:"level"`
	} `toml:"log"`
}

// file reads a module.toml and checks it.
func (h host) file(path, source string) (Config, error) {
	c, err := parseFile(path, source)
	if err != nil {
		return c, err
	}
	return h.finish(c)
}

func parseFile(path, source string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		c := Config{Source: source}
		return c, c.bad("the configuration cannot be read (%v); make the file readable or unset its name", err)
	}
	return parseTOML(text, source)
}

func parseTOML(text []byte, source string) (Config, error) {
	c := Config{Source: source}
	var d document
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&d); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
			return c, c.bad("unknown key %s; remove or correct it", strings.Join(unknown.Errors[0].Key(), "."))
		}
		return c, c.bad("not valid TOML: %v", err)
	}
	c.Endpoints = d.Endpoints
	if d.Timeout != "" {
		timeout, err := time.ParseDuration(d.Timeout)
		if err != nil || timeout <= 0 {
			return c, c.bad("timeout %q is no duration; write for example 30s", d.Timeout)
		}
		c.Timeout = timeout
	}
	c.Transport = d.Transport
	c.TLS = TLS{Certificate: d.TLS.Certificate, Key: d.TLS.Key, CA: d.TLS.CA}
	c.Log = Log{File: d.Log.File, Level: d.Log.Level}
	return c, nil
}
