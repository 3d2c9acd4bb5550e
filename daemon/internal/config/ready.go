package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Ready looks at what the configuration points to: secrets and libraries. It returns all that would keep the daemon
// from starting, and reads secrets only to know that they are there.
func (c Config) Ready() error {
	var problems []string
	probe := func(name string, s Secret) {
		if s == "" {
			return
		}
		value, err := s.Read()
		clear(value)
		if err != nil {
			problems = append(problems, place(c.File)+name+": "+err.Error())
		}
	}
	probe("store_password", c.StorePassword)
	probe("root_key.passphrase", c.RootKey.Passphrase)
	for _, p := range c.Providers {
		probe(fmt.Sprintf("provider %q: pin", p.Name), p.PIN)
		if p.AzureKV != nil {
			probe(fmt.Sprintf("provider %q: azurekv.client_secret", p.Name), p.AzureKV.ClientSecret)
			probe(fmt.Sprintf("provider %q: azurekv.client_certificate", p.Name), p.AzureKV.ClientCertificate)
		}
		if p.KMIP != nil {
			probe(fmt.Sprintf("provider %q: kmip.username", p.Name), p.KMIP.Username)
			probe(fmt.Sprintf("provider %q: kmip.password", p.Name), p.KMIP.Password)
			for _, path := range []string{p.KMIP.Certificate, p.KMIP.Key, p.KMIP.CA} {
				if _, err := os.Stat(path); err != nil {
					problems = append(problems, fmt.Sprintf("%sprovider %q: kmip: %v; correct the path, or make the file readable", place(c.File), p.Name, err))
				}
			}
		}
		if p.Vault != nil {
			probe(fmt.Sprintf("provider %q: vault.token", p.Name), p.Vault.Token)
			probe(fmt.Sprintf("provider %q: vault.secret_id", p.Name), p.Vault.SecretID)
			for _, path := range []string{p.Vault.CA, p.Vault.Certificate, p.Vault.Key, p.Vault.serviceToken()} {
				if path == "" {
					continue
				}
				if _, err := os.Stat(path); err != nil {
					problems = append(problems, fmt.Sprintf("%sprovider %q: vault: %v; correct the path, or make the file readable", place(c.File), p.Name, err))
				}
			}
		}
		if p.Library == "" {
			continue
		}
		if _, err := os.Stat(p.Library); err != nil {
			problems = append(problems, fmt.Sprintf("%sprovider %q: library: %v; install the library or correct its path", place(c.File), p.Name, err))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}
