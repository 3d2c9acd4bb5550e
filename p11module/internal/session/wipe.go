package session

import (
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// guard has the secret of a session object overwritten once nothing uses the object any more. Destroying the object is
// not that moment: another thread's operation may be using it. So whoever takes a secret out of an object keeps the
// object alive meanwhile (runtime.KeepAlive).
func (o *Object) guard() {
	if len(o.secret) > 0 {
		runtime.AddCleanup(o, wipeSecret, o.secret)
	}
}

// guardKey does so for the key made of the secret.
func (o *Object) guardKey() {
	if len(o.secret) > 0 && o.key != nil {
		runtime.AddCleanup(o, (*softkey.Key).Wipe, o.key)
	}
}

func wipeSecret(secret cryptoki.Attributes) {
	for _, a := range secret {
		clear(a.Value)
	}
}
