package modulefile

import (
	"fmt"
	"path/filepath"
	"strings"
)

// UserPath is the configuration of the user, empty without a home directory.
func (p Place) UserPath() string {
	if !filepath.IsAbs(p.Home) {
		return ""
	}
	return filepath.Join(p.Home, ".config", "anyhsm", "module.toml")
}

// Text writes the configuration as a commented module.toml.
func (c Config) Text() string {
	var b strings.Builder
	b.WriteString("# Configuration of anyhsm-pkcs11.so, the PKCS#11 module that applications load.\n")
	b.WriteString("# Found through ANYHSM_CONFIG, else as ~/.config/anyhsm/module.toml, else as /etc/anyhsm/module.toml.\n\n")
	b.WriteString("# Where the daemon listens, tried in this order: unix:///PATH or tcp://HOST:PORT.\n")
	fmt.Fprintf(&b, "endpoints = [%s]\n\n", quoted(c.Endpoints))
	b.WriteString("# The longest that one call of PKCS#11 may take.\n")
	fmt.Fprintf(&b, "timeout = %q\n", c.Timeout)
	if c.TLS != (TLS{}) {
		b.WriteString("\n# Who we are, and by which CA we know the daemon; for tcp:// endpoints. From `anyhsm enroll`.\n[tls]\n")
		fmt.Fprintf(&b, "certificate = %q\nkey = %q\nca = %q\n", c.TLS.Certificate, c.TLS.Key, c.TLS.CA)
	}
	b.WriteString("\n# The module is silent unless a file is given here. Levels: error, warn, info, debug.\n")
	b.WriteString("# [log]\n# file = \"/var/log/anyhsm-module.log\"\n# level = \"warn\"\n")
	return b.String()
}

func quoted(values []string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(words, ", ")
}
