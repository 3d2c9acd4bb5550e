package operations

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// blocks returns the page's blocks of shell commands.
func blocks(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(daemontest.Root(), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, part := range strings.Split(string(page), "```sh\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```")
		if !closed {
			t.Fatal("a block is not closed")
		}
		found = append(found, block)
	}
	if len(found) < 8 {
		t.Fatalf("only %d blocks", len(found))
	}
	return found
}

// The machines of the page are directories: ssh, scp and systemctl do in them what they do there. ROOT is where they
// are, NET the first three bytes of their addresses, HOST the one that a command runs on.
var programs = map[string]string{
	// What an operator writes as /etc/anyhsm lies in the host's directory.
	"translate": `sed -e "s#/\(etc/anyhsm\|var/lib/anyhsm\|run/anyhsm\|var/backups\|usr/local/bin\)#$ROOT/$HOST/\1#g" \
	-e "s#replica\([123]\)\.example#$NET.\1#g" -e "s#postgres://anyhsm@db.example/anyhsm#$DATABASE#g"`,
	"on": `HOST=$1; export HOST; shift
export ANYHSM_SOCKET="$ROOT/$HOST/run/anyhsm/anyhsmd.sock"
exec bash -euo pipefail -c "$(printf '%s' "$*" | translate)"`,
	"ssh": `host=$1; shift; exec on "$host" "$(printf '%s' "$*" | sed "s#$ROOT/$HOST##g")"`,
	"scp": `[ "$1" = -p ] && shift
case $1 in /*) from=$1 ;; *) from=$PWD/$1 ;; esac
host=${2%%:*}; path=${2#*:}
cp -p "$from" "$ROOT/$host/${path#"$ROOT/$HOST"}"`,
	"anyhsmd": `case " $* " in *" --config "*) exec "$ROOT/$HOST/usr/local/bin/anyhsmd" "$@" ;; esac
command=$1; shift; exec "$ROOT/$HOST/usr/local/bin/anyhsmd" "$command" --config "$ROOT/$HOST/etc/anyhsm/anyhsmd.toml" "$@"`,
	"systemctl": `pid=$ROOT/$HOST/pid; config=$ROOT/$HOST/etc/anyhsm/anyhsmd.toml
stop() { kill -TERM "$(cat "$pid")"; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.05; done; rm "$pid"; }
start() {
	# The page's sed has made the names of another replica of this one's.
	sed -i "s#replica\([123]\)\.example#$NET.\1#g; s#$NET\.[123]#$NET.${HOST#replica}#g" "$config"
	setsid "$ROOT/$HOST/usr/local/bin/anyhsmd" --config "$config" >> "$ROOT/$HOST/log" 2>&1 < /dev/null &
	echo $! > "$pid"
	for try in $(seq 600); do curl -sf "http://$NET.${HOST#replica}:9512/healthz" > /dev/null && return; kill -0 "$(cat "$pid")" || break; sleep 0.05; done
	tail "$ROOT/$HOST/log" >&2; exit 1
}
case $1 in start) start ;; stop) stop ;; restart) stop; start ;; reload) kill -HUP "$(cat "$pid")" ;; *) exit 1 ;; esac`,
}
