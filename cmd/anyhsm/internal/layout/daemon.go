package layout

import (
	"fmt"
	"path/filepath"
)

// daemonText is the first configuration of the daemon.
func (l Layout) daemonText() string {
	return fmt.Sprintf(`# Configuration of anyhsmd. Check it with: anyhsmd --check-config --config %[1]s
# Values in comments are the defaults or examples. Secrets are never written here: they are references, file:PATH or
# env:NAME.

# Tokens, objects, applications and the audit log.
store = %[2]q

# Who may administer, besides root and the user that the daemon runs as: "uid:1000", or "cert:…" of an enrolled key.
# admins = ["uid:0"]

[listen]
# Applications of this host. Everybody may connect: the kernel tells the daemon each caller's user, and only users that
# are registered with "anyhsm app add" see anything.
unix = %[3]q
# Applications of other hosts, with mutual TLS; they enroll with "anyhsm app code" and "anyhsm enroll".
# tcp = "0.0.0.0:7512"
# advertise = ["hsm.example.org"]   # names and addresses for the server's certificate
# metrics = "127.0.0.1:9512"        # /metrics and /healthz

[root_key]
# All secrets in the store are sealed under this key. It is made at the first start. Keep a copy of it, apart from
# copies of the store.
file = %[4]q

[audit]
# true: a use of a key is on the disk before its answer is sent.
strict = false

[login]
max_failed = 10
ticket_lifetime = "12h"

[log]
level = "info"
format = "text"

# Where keys live. "software" (this daemon's own sealed keystore) is always there. An HSM with a PKCS#11 library:
# [[provider]]
# name = "softhsm"
# kind = "hsm"
# library = "/usr/lib/softhsm/libsofthsm2.so"
# token = "anyhsm"                  # label of the HSM's token (or serial = "…", slot = N)
# pin = "file:/etc/anyhsm/softhsm.pin"
# sessions = 16
`, l.DaemonConfig, filepath.Join(l.State, "anyhsm.db"), l.Socket, filepath.Join(l.State, "root.key"))
}
