package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the daemon's store
)

// anyHSM starts a daemon with the provider software, PINs, policy and audit, as it comes, and one token a size.
func (l *laboratory) anyHSM(t *target, sizes []int) error {
	dir := filepath.Join(l.dir, t.name)
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return err
	}
	socket, store := filepath.Join(dir, "s"), filepath.Join(dir, "state", "anyhsm.db")
	transport := ""
	if t.name == "anyhsm-grpc-go" {
		transport = "transport = \"grpc-go\"\n"
	}
	listen, address, module := transport, "", fmt.Sprintf("endpoints = [%q]\n", "unix://"+socket)+transport
	if t.name == "anyhsm-tls" {
		var err error
		if address, err = freeAddress(); err != nil {
			return err
		}
		listen += fmt.Sprintf("tcp = %q\nadvertise = [\"127.0.0.1\"]\n", address)
	}
	file := filepath.Join(dir, "anyhsmd.toml")
	text := fmt.Sprintf("store = %q\nadmins = [\"uid:%d\"]\n[listen]\nunix = %q\n%s[root_key]\nfile = %q\n",
		store, os.Getuid(), socket, listen, filepath.Join(dir, "state", "root.key"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	t.module = filepath.Join(l.build, "anyhsm-pkcs11.so")
	env := []string{"ANYHSM_CONFIG=" + filepath.Join(dir, "module.toml"), "ANYHSM_SOCKET=" + socket, "BENCH_PIN=" + pin}
	cli := func(arguments ...string) (string, error) {
		return output(append(os.Environ(), env...), filepath.Join(l.build, "anyhsm"), arguments...)
	}
	start := func() (*exec.Cmd, error) {
		daemon := exec.Command(filepath.Join(l.build, "anyhsmd"), "--config", file)
		return daemon, l.run(daemon, func() bool { return answers("unix", socket) })
	}
	daemon, err := start()
	if err != nil {
		return err
	}
	// The first configuration is the socket's also for TLS: keys are made by the administrator.
	if err := os.WriteFile(filepath.Join(dir, "module.toml"), []byte(module), 0o644); err != nil {
		return err
	}
	for _, items := range sizes {
		label := labelOf(items)
		if _, err := cli("token", "create", label, "--so-pin", "env:BENCH_PIN", "--user-pin", "env:BENCH_PIN"); err != nil {
			return err
		}
		made := token{label: label, env: env}
		if _, err := l.drive(t.module, made, setup(items)...); err != nil {
			return err
		}
		t.tokens[items] = made
	}
	if t.name == "anyhsm-tls" {
		enrolled, err := l.enroll(dir, cli, address)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "module.toml"), []byte(enrolled), 0o644); err != nil {
			return err
		}
	}
	if len(sizes) > 1 {
		l.stop(daemon)
		for _, items := range sizes {
			if err := cloneRows(store, labelOf(items), items); err != nil {
				return fmt.Errorf("%d items: %w", items, err)
			}
		}
		if daemon, err = start(); err != nil {
			return err
		}
	}
	for items, made := range t.tokens {
		made.server = daemon.Process.Pid
		t.tokens[items] = made
	}
	return nil
}

// labelOf is the label of ours with so many items.
func labelOf(items int) string { return fmt.Sprint("bench", items) }

// enroll gives the caller a certificate for the daemon's TCP address and returns the module's configuration.
func (l *laboratory) enroll(dir string, cli func(...string) (string, error), address string) (string, error) {
	if _, err := cli("app", "add", "bench", "--grant", labelOf(0)+":use+create", "--grant", labelOf(forTLS)+":use+create"); err != nil {
		return "", err
	}
	code, err := cli("app", "code", "bench")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "code")
	if err := os.WriteFile(file, []byte(strings.TrimSpace(code)), 0o600); err != nil {
		return "", err
	}
	identity := filepath.Join(dir, "identity")
	if _, err := cli("enroll", "--endpoint", "tcp://"+address, "--dir", identity, "--code", "file:"+file); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(identity, "module.toml"))
	return string(text), err
}

// cloneRows copies the first item's row in the store of a daemon that does not run, with other labels and ids, until there
// are so many: through PKCS#11 a million would take a quarter of an hour.
func cloneRows(store, label string, items int) error {
	if items < 2 {
		return nil
	}
	db, err := sql.Open("sqlite", store)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	columns, row, err := first(tx, "SELECT objects.* FROM objects JOIN tokens ON tokens.id = objects.token_id WHERE tokens.label = ? AND objects.label = ?", label, itemLabel(0))
	if err != nil {
		return err
	}
	var next int64
	if err := tx.QueryRow("SELECT next FROM counters WHERE name = 'object'").Scan(&next); err != nil {
		return err
	}
	insert, err := tx.Prepare("INSERT INTO objects (" + strings.Join(columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")")
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	for i := 1; i < items; i++ {
		values := make([]any, len(row))
		for c, value := range row {
			switch columns[c] {
			case "id":
				value = next
			case "uid":
				value = fmt.Sprintf("%08x-0000-4000-8000-%012x", i, next)
			case "label", "cka_id", "attributes":
				value = bytes.ReplaceAll(value.([]byte), itemLabel(0), itemLabel(i))
			}
			values[c] = value
		}
		if _, err := insert.Exec(values...); err != nil {
			return err
		}
		next++
	}
	if _, err := tx.Exec("UPDATE counters SET next = ? WHERE name = 'object'", next); err != nil {
		return err
	}
	return tx.Commit()
}

// first returns the columns and the values of the one row of a query.
func first(tx *sql.Tx, query string, arguments ...any) ([]string, []any, error) {
	rows, err := tx.Query(query, arguments...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, nil, err
	}
	values, at := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		at[i] = &values[i]
	}
	if !rows.Next() {
		return nil, nil, fmt.Errorf("no row: %w", rows.Err())
	}
	return columns, values, rows.Scan(at...)
}
