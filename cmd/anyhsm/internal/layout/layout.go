// Package layout knows where a new daemon keeps its things and writes its first configuration.
package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
)

// longestSocket is what sockaddr_un holds.
const longestSocket = 107

// Layout is the set of paths of one daemon.
type Layout struct {
	DaemonConfig, ModuleConfig string
	// State is for the store and the root key; nobody else may look into it.
	State string
	// Socket is where the daemon listens.
	Socket string
	// Found tells that the module and the CLI find the configuration by themselves.
	Found bool
}

// System is the layout of a daemon of the whole machine.
func System() Layout {
	return Layout{
		DaemonConfig: "/etc/anyhsm/anyhsmd.toml", ModuleConfig: modulefile.SystemPath, State: "/var/lib/anyhsm",
		Socket: modulefile.SystemSocket, Found: true,
	}
}

// User is the layout of a user's own daemon. Without a runtime directory the socket lies beside the store.
func User(home, runtime, state string) Layout {
	if state == "" {
		state = filepath.Join(home, ".local", "state")
	}
	l := Layout{
		DaemonConfig: filepath.Join(home, ".config", "anyhsm", "anyhsmd.toml"),
		ModuleConfig: modulefile.Place{Home: home}.UserPath(),
		State:        filepath.Join(state, "anyhsm"),
		Found:        true,
	}
	l.Socket = filepath.Join(l.State, "anyhsmd.sock")
	if runtime != "" {
		l.Socket = filepath.Join(runtime, "anyhsm", "anyhsmd.sock")
	}
	return l
}

// Directory is the layout of a daemon that has everything in one directory.
func Directory(dir string) Layout {
	return Layout{
		DaemonConfig: filepath.Join(dir, "anyhsmd.toml"), ModuleConfig: filepath.Join(dir, "module.toml"),
		State: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "anyhsmd.sock"),
	}
}

// Make makes what is not there yet and returns what it made and what it left alone.
func (l Layout) Make() (made, kept []string, err error) {
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	for _, d := range l.directories() {
		switch is, err := os.Stat(d.path); {
		case err == nil && !is.IsDir():
			return made, kept, fmt.Errorf("%s is there and is no directory", d.path)
		case err == nil:
			kept = append(kept, d.path)
			continue
		}
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return made, kept, err
		}
		made = append(made, d.path)
	}
	for _, f := range []struct{ path, text string }{{l.DaemonConfig, l.daemonText()}, {l.ModuleConfig, l.moduleText()}} {
		file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			kept = append(kept, f.path)
			continue
		}
		if err == nil {
			_, err = file.WriteString(f.text)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return made, kept, err
		}
		made = append(made, f.path)
	}
	return made, kept, nil
}

type directory struct {
	path string
	mode fs.FileMode
}

// directories lists each directory once, with its mode.
func (l Layout) directories() []directory {
	all := []directory{
		{filepath.Dir(l.DaemonConfig), 0o755},
		{filepath.Dir(l.ModuleConfig), 0o755},
		{l.State, 0o700},
		{filepath.Dir(l.Socket), 0o755},
	}
	var each []directory
	seen := map[string]bool{}
	for _, d := range all {
		if !seen[d.path] {
			seen[d.path] = true
			each = append(each, d)
		}
	}
	return each
}

func (l Layout) check() error {
	if len(l.Socket) > longestSocket {
		return fmt.Errorf("the socket's path %s has %d bytes, a Unix socket's has at most %d; give a shorter --dir", l.Socket,
			len(l.Socket), longestSocket)
	}
	if strings.IndexFunc(l.DaemonConfig+l.State+l.Socket, unicode.IsControl) >= 0 {
		return errors.New("the directory's name has control characters in it; give another --dir")
	}
	return nil
}

func (l Layout) moduleText() string {
	return modulefile.Config{Endpoints: []string{"unix://" + l.Socket}, Timeout: "30s"}.Text()
}
