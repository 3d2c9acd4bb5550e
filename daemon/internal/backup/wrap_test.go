package backup

import (
	"bytes"
	"compress/gzip"
	"testing"

	"filippo.io/age"

	"github.com/anyhsm/anyhsm/daemon/internal/seal"
)

// wrap seals lines as Write does.
func wrap(t *testing.T, root *seal.Root, plain []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	sealed, err := age.Encrypt(&file, recipient{root: root})
	check(t, err)
	packed := gzip.NewWriter(sealed)
	_, err = packed.Write(plain)
	check(t, err)
	check(t, packed.Close())
	check(t, sealed.Close())
	return file.Bytes()
}
