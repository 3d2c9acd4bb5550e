package config

import (
	"strings"
	"time"
)

const (
	reservedPrefix = "anyhsm:"
	reservedSource = "C_Initialize's pReserved string"
)

// reserved reads C_Initialize's pReserved string: `anyhsm: key=value;key=value`. NSS hands every module a string of
// its own, so one without our prefix is not ours and says nothing.
//
// config=PATH names a module.toml; the other keys are those of module.toml, written tls.ca and log.file, and go above
// what the file says. endpoints are separated by commas.
func (h host) reserved(text string) (c Config, ours bool, err error) {
	rest, ours := strings.CutPrefix(strings.TrimSpace(text), reservedPrefix)
	if !ours {
		return Config{}, false, nil
	}
	settings, err := parseReserved(rest)
	if err != nil {
		return Config{}, true, err
	}
	c.Source = reservedSource
	if path, ok := settings["config"]; ok {
		if c, err = parseFile(path, reservedSource); err != nil {
			return c, true, err
		}
	}
	for key, value := range settings {
		switch key {
		case "config":
		case "endpoints":
			c.Endpoints = nil
			for _, endpoint := range strings.Split(value, ",") {
				c.Endpoints = append(c.Endpoints, strings.TrimSpace(endpoint))
			}
		case "timeout":
			timeout, err := time.ParseDuration(value)
			if err != nil || timeout <= 0 {
				return c, true, c.bad("timeout %q is no duration; write for example 30s", value)
			}
			c.Timeout = timeout
		case "transport":
			c.Transport = value
		case "tls.certificate":
			c.TLS.Certificate = value
		case "tls.key":
			c.TLS.Key = value
		case "tls.ca":
			c.TLS.CA = value
		case "log.file":
			c.Log.File = value
		case "log.level":
			c.Log.Level = value
		default:
			return c, true, c.bad("unknown key %q; remove or correct it", key)
		}
	}
	c, err = h.finish(c)
	return c, true, err
}

// parseReserved splits the settings. Each key may stand once; blanks around keys and values do not count.
func parseReserved(text string) (map[string]string, error) {
	c := Config{Source: reservedSource}
	settings := map[string]string{}
	for _, setting := range strings.Split(text, ";") {
		setting = strings.TrimSpace(setting)
		if setting == "" {
			continue
		}
		key, value, found := strings.Cut(setting, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !found || key == "" || value == "" {
			return nil, c.bad("%q is no setting; write key=value", setting)
		}
		if strings.ContainsRune(setting, 0) {
			return nil, c.bad("%q holds a NUL; remove it", key)
		}
		if _, twice := settings[key]; twice {
			return nil, c.bad("key %q stands twice; keep one", key)
		}
		settings[key] = value
	}
	return settings, nil
}
