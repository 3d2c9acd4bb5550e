//go:build !cgo || no_openssl

package software

import (
	"crypto/ecdsa"
	"crypto/rsa"

	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Arithmetic tells what computes with RSA and P-256 keys.
func Arithmetic() string { return "Go (built without OpenSSL)" }

func doRSA(*rsa.PrivateKey) (softkey.RSA, error) { return nil, nil }

func doECDSA(*ecdsa.PrivateKey) (softkey.ECDSA, error) { return nil, nil }
