package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"anyhsm": func() { os.Exit(run()) }})
}

// TestScripts runs testdata/script. Scripts whose names begin with daemon- use a real daemon, built once.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Condition: func(name string) (bool, error) {
			return name == "root" && os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			// Without it the machine's own configuration and daemon would take part.
			dir, err := binaries()
			if err != nil {
				return err
			}
			env.Setenv("ANYHSMD", filepath.Join(dir, "anyhsmd"))
			env.Setenv("ANYHSM_SOCKET", filepath.Join(env.WorkDir, "d", "anyhsmd.sock"))
			// Other users must reach the socket and the files of a script.
			for _, dir := range []string{env.WorkDir, filepath.Dir(env.WorkDir)} {
				if err := os.Chmod(dir, 0o755); err != nil {
					return err
				}
			}
			return os.MkdirAll(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       exits,
			"json":        jsonIs,
			"json-env":    jsonEnv,
			"daemon":      startDaemon,
			"daemon-stop": stopDaemon,
			"daemon-kill": killDaemon,
			"anyhsmd":     daemonProgram,
			"softhsm":     softHSM,
			"as":          asUser,
			"openssl-key": opensslKey,
			"tamper":      tamper,

			"expand":          expand,
			"append":          appendFile,
			"label-from-file": labelFromFile,
			"admins":          admins,
			"foreign-code":    foreignCode,
		},
	})
}
