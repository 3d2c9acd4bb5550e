//go:build !cgo || no_openssl

package software

import (
	"crypto/rsa"

	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Arithmetic tells what computes with RSA keys.
func Arithmetic() string { return "Go (built without OpenSSL)" }

func doRSA(*rsa.PrivateKey) (softkey.RSA, error) { return nil, nil }
