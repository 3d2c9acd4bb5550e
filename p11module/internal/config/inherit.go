package config

import "strings"

// Inherited is the configuration as a pReserved string for forked children, whose environment and rights are often
// not their parent's: nginx clears the first and drops the second before its workers initialise. It is empty where a
// child finds the same by itself, in the system's file, and where a value cannot stand in such a string.
func (c Config) Inherited() string {
	if c.Source == systemFile {
		return ""
	}
	settings := []struct{ key, value string }{
		{"endpoints", strings.Join(c.Endpoints, ",")},
		{"timeout", c.Timeout.String()},
		{"tls.certificate", c.TLS.Certificate},
		{"tls.key", c.TLS.Key},
		{"tls.ca", c.TLS.CA},
		{"log.file", c.Log.File},
		{"log.level", c.Log.Level},
	}
	text := reservedPrefix
	for _, setting := range settings {
		if strings.Contains(setting.value, ";") || setting.value != strings.TrimSpace(setting.value) {
			return ""
		}
		if setting.value != "" {
			text += " " + setting.key + "=" + setting.value + ";"
		}
	}
	for _, endpoint := range c.Endpoints {
		if strings.Contains(endpoint, ",") {
			return ""
		}
	}
	return text
}
