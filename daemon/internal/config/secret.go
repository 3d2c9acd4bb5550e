package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a reference to a secret: file:/path or env:NAME. The configuration never holds the secret itself, so it
// can be shown, backed up and checked in.
type Secret string

const maxSecret = 64 << 10

var errNoReference = errors.New("a secret is given by reference, \"file:/path\" or \"env:NAME\"; put the value into a file of mode 0600 and name that")

// check tells what is wrong with the reference itself. The error never repeats the text: it may be the secret.
func (s Secret) check() error {
	kind, name, ok := strings.Cut(string(s), ":")
	switch {
	case !ok || kind != "file" && kind != "env" || name == "":
		return errNoReference
	case kind == "file" && !filepath.IsAbs(name):
		return fmt.Errorf("%s: the path must be absolute", s)
	case kind == "env" && strings.ContainsAny(name, "= \t\n"):
		return errNoReference
	}
	return nil
}

// Read returns the secret: the file without a last line break, or the variable. The caller wipes it.
func (s Secret) Read() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	kind, name, _ := strings.Cut(string(s), ":")
	if kind == "env" {
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			return nil, fmt.Errorf("%s: the environment variable is not set; set it for the daemon, for example in its systemd unit", s)
		}
		return []byte(value), nil
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w; create the file with mode 0600, owned by uid %d", s, err, os.Getuid())
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file; name a file that holds the secret", s)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("%s: everybody on this machine may open the file; run: chmod o= %s", s, name)
	case info.Size() > maxSecret:
		return nil, fmt.Errorf("%s: %d bytes are no secret; name the right file", s, info.Size())
	}
	value, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make it readable for uid %d", s, err, os.Getuid())
	}
	value = bytes.TrimSuffix(value, []byte("\n"))
	value = bytes.TrimSuffix(value, []byte("\r"))
	if len(value) == 0 {
		return nil, fmt.Errorf("%s: the file is empty; write the secret into it", s)
	}
	return value, nil
}
