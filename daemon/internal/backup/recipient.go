package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"filippo.io/age"

	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// The key of a backup file is sealed under the root key, in a stanza of the age format: its arguments are the root
// key's check value and, where the root key comes from a passphrase, the salt. So only who has the root key can read a
// backup, and only who has it can make one.
const (
	stanzaType = "anyhsm-root-key"
	purpose    = "backup file key"
)

type recipient struct {
	root *seal.Root
	salt []byte
}

// Wrap implements age.Recipient.
func (r recipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	sealed, err := r.root.Seal(purpose, fileKey, nil)
	if err != nil {
		return nil, err
	}
	arguments := []string{hex.EncodeToString(r.root.Check())}
	if r.salt != nil {
		arguments = append(arguments, base64.RawURLEncoding.EncodeToString(r.salt))
	}
	return []*age.Stanza{{Type: stanzaType, Args: arguments, Body: sealed}}, nil
}

// identity opens a backup with the root key that open returns for the backup's salt.
type identity struct {
	open func(salt []byte) (*seal.Root, error)
	// root is what open returned for the file's key.
	root *seal.Root
}

// Unwrap implements age.Identity.
func (i *identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != stanzaType || len(stanzas[0].Args) < 1 || len(stanzas[0].Args) > 2 {
		return nil, fault.New(fault.InvalidInput, "the file is not sealed under a root key of AnyHSM; give a file that anyhsm backup has written")
	}
	s := stanzas[0]
	check, err := hex.DecodeString(s.Args[0])
	if err != nil {
		return nil, errDamaged(fmt.Errorf("the root key's check value is no hexadecimal number"))
	}
	var salt []byte
	if len(s.Args) == 2 {
		if salt, err = base64.RawURLEncoding.DecodeString(s.Args[1]); err != nil {
			return nil, errDamaged(fmt.Errorf("the passphrase's salt is not base64"))
		}
	}
	root, err := i.open(salt)
	if err != nil {
		return nil, err
	}
	fileKey, err := root.Open(purpose, s.Body, nil)
	if err != nil && !bytes.Equal(check, root.Check()) {
		return nil, fault.New(fault.InvalidInput, "the backup was sealed under the root key %s, this one is %s; give the root key (file or passphrase) that the store had when the backup was made",
			seal.Fingerprint(check), seal.Fingerprint(root.Check()))
	}
	if err != nil {
		return nil, errDamaged(err)
	}
	i.root = root
	return fileKey, nil
}

func errDamaged(err error) error {
	return fault.New(fault.InvalidInput, "the backup is damaged or cut short: %w; use another copy of it. Nothing was changed", err)
}
