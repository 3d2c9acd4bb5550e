package config

import "path/filepath"

// KMIP is the block of a provider of kind kmip.
type KMIP struct {
	// Address is host:port of the server.
	Address string `toml:"address"`
	// Certificate, Key and CA are the paths of our certificate, its key, and the certificate of the server's authority.
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	CA          string `toml:"ca"`
	// Username and Password are references; servers that know us by our certificate want none.
	Username Secret `toml:"username,omitempty"`
	Password Secret `toml:"password,omitempty"`
	// Protocol is 1.4, 2.0 or 2.1.
	Protocol string `toml:"protocol,omitempty"`
	// Connections is how many calls run at once.
	Connections int `toml:"connections,omitempty"`
}

// complete fills in the defaults.
func (k *KMIP) complete() {
	if k.Protocol == "" {
		k.Protocol = "1.4"
	}
	if k.Connections == 0 {
		k.Connections = 16
	}
}

func (k KMIP) check(name string, wrong func(string, ...any)) {
	if err := checkAddress(k.Address); err != nil {
		wrong("%s: kmip.address: %v", name, err)
	} else if k.Address == "" {
		wrong("%s: kmip.address is missing; write it as kmip.example.org:5696", name)
	}
	for _, path := range []struct{ key, value string }{{"certificate", k.Certificate}, {"key", k.Key}, {"ca", k.CA}} {
		if !filepath.IsAbs(path.value) {
			wrong("%s: kmip.%s: %q is no absolute path; name a PEM file", name, path.key, path.value)
		}
	}
	for _, secret := range []struct {
		key   string
		value Secret
	}{{"username", k.Username}, {"password", k.Password}} {
		if secret.value != "" {
			if err := secret.value.check(); err != nil {
				wrong("%s: kmip.%s: %v", name, secret.key, err)
			}
		}
	}
	if k.Password != "" && k.Username == "" {
		wrong("%s: kmip.password is given and kmip.username is not; add it", name)
	}
	switch k.Protocol {
	case "1.4", "2.0", "2.1":
	default:
		wrong("%s: kmip.protocol: %q is unknown; choose 1.4, 2.0 or 2.1", name, k.Protocol)
	}
	if k.Connections < 1 || k.Connections > 1024 {
		wrong("%s: kmip.connections = %d is out of range; choose 1 to 1024", name, k.Connections)
	}
}
