package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Where Debian has the others' libraries.
const (
	softHSM      = "/usr/lib/softhsm/libsofthsm2.so"
	p11KitClient = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so"
)

// softHSM makes a fresh token in a directory of its own, which only those see who use it: a process reads all tokens
// that it sees when it starts. For p11-kit it starts a server over it.
func (l *laboratory) softHSM(t *target, items int) error {
	dir := filepath.Join(l.dir, fmt.Sprint(t.name, items))
	tokens := filepath.Join(dir, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	made := token{label: "bench", env: []string{"SOFTHSM2_CONF=" + file}}
	if _, err := output(append(os.Environ(), made.env...), "softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", pin, "--so-pin", pin); err != nil {
		return err
	}
	if _, err := l.drive(softHSM, made, setup(items)...); err != nil {
		return err
	}
	if items > 0 {
		if err := cloneFiles(tokens, items); err != nil {
			return err
		}
	}
	t.module = softHSM
	if t.name == "p11-kit" {
		socket := filepath.Join(dir, "p11-kit.sock")
		server := exec.Command("p11-kit", "server", "--foreground", "--provider", softHSM, "--name", socket, "pkcs11:token=bench")
		server.Env = append(os.Environ(), made.env...)
		if err := l.run(server, func() bool { return answers("unix", socket) }); err != nil {
			return err
		}
		t.module, made.server = p11KitClient, server.Process.Pid
		made.env = append(made.env, "P11_KIT_SERVER_ADDRESS=unix:path="+socket)
	}
	t.tokens[items] = made
	return nil
}

// cloneFiles copies the first item's file, with other labels and ids, until there are so many: making 100,000 objects one by
// one takes SoftHSM more than an hour.
func cloneFiles(tokens string, items int) error {
	files, err := filepath.Glob(filepath.Join(tokens, "*", "*.object"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, itemLabel(0)) {
			continue
		}
		for i := 1; i < items; i++ {
			name := filepath.Join(filepath.Dir(file), fmt.Sprintf("%08x-0000-4000-8000-000000000000.object", i))
			if err := os.WriteFile(name, bytes.ReplaceAll(text, itemLabel(0), itemLabel(i)), 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("no file in %s holds %s", tokens, itemLabel(0))
}

// itemLabel is the label and id of an item, as in driver/keys.c.
func itemLabel(i int) []byte { return fmt.Appendf(nil, "item-%07d", i) }
