package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// maxChecked is how many key pairs of each type a check signs with.
const maxChecked = 50

// Check opens the token with another implementation, crypto11, and signs with the RSA and EC keys that it finds; Go's
// crypto verifies. Thus it tells a fault of the HSM from one of ours.
//
// A library is initialised once in a process, and crypto11 insists on doing it itself. So ours is finalised for that
// time: other calls wait, and log in again afterwards.
func (p *Provider) Check(ctx context.Context) ([]provider.CheckResult, error) {
	const operation = "be checked by crypto11"
	select {
	case <-p.closed:
		return nil, p.explain(operation, errClosed)
	default:
	}
	config, err := p.independent()
	if err != nil {
		return nil, p.explain(operation, err)
	}
	var results []provider.CheckResult
	err = p.library.alone(ctx, func() error {
		l := p.library
		if l.running && !l.ours {
			return fault.New(fault.FunctionFailed, "another part of this process has initialised the library; crypto11 cannot have it for itself")
		}
		if l.running {
			_ = l.client.Finalize()
			l.running = false
		}
		results = checkIndependently(config)
		return l.initialize()
	})
	if err != nil {
		// The check may still be at it: its results are not ours to touch.
		return nil, p.explain(operation, err)
	}
	return results, nil
}

// independent is the configuration for crypto11.
func (p *Provider) independent() (*crypto11.Config, error) {
	l := p.link.Load()
	switch {
	case l == nil:
		return nil, fault.New(fault.DeviceError, "there is no connection to the HSM; look at its health first")
	case p.config.InitArgs != "":
		return nil, fault.New(fault.FunctionNotSupported, "crypto11 cannot hand `init_args` to a library")
	case p.config.UserType > pkcs11.CKU_USER && p.config.UserType != crypto11.CryptoUser:
		return nil, fault.New(fault.FunctionNotSupported, "crypto11 cannot log in as user type %d", p.config.UserType)
	}
	slot := int(l.slot)
	config := &crypto11.Config{
		Path: p.library.path, Pin: p.config.PIN, MaxSessions: 2, UserType: int(p.config.UserType),
		LoginNotSupported: p.config.PIN == "",
	}
	// The slot's number may be another after C_Initialize, so the token is named as the configuration does.
	config.TokenLabel, config.TokenSerial = p.config.TokenLabel, p.config.Serial
	if p.config.Slot != nil {
		config.SlotNumber = &slot
	}
	return config, nil
}

// checkIndependently opens the token and signs with its keys. The library is free.
func checkIndependently(config *crypto11.Config) (results []provider.CheckResult) {
	begin := time.Now()
	step := func(name, detail string, err error) {
		results = append(results, provider.CheckResult{Name: name, Detail: detail, Err: err, Took: time.Since(begin)})
		begin = time.Now()
	}
	token, err := crypto11.Configure(config)
	step("crypto11 opens the token", "", err)
	if err != nil {
		return results
	}
	defer func() { _ = token.Close() }()
	for _, family := range []struct {
		name    string
		keyType uint
	}{{"RSA", pkcs11.CKK_RSA}, {"EC", pkcs11.CKK_EC}} {
		wanted := crypto11.NewAttributeSet()
		if err := errors.Join(wanted.Set(crypto11.CkaKeyType, family.keyType), wanted.Set(crypto11.CkaSign, true)); err != nil {
			step("crypto11 finds "+family.name+" keys", "", err)
			continue
		}
		signers, err := token.FindKeyPairsWithAttributes(wanted)
		step("crypto11 finds "+family.name+" keys", fmt.Sprintf("%d key pairs", len(signers)), err)
		for i, signer := range signers {
			if i == maxChecked {
				break
			}
			step("crypto11 signs with "+nameOf(token, signer), "", signAndVerify(signer))
		}
	}
	return results
}

// nameOf names a key pair for people.
func nameOf(token *crypto11.Context, signer crypto11.Signer) string {
	attributes, err := token.GetAttributes(signer, []crypto11.AttributeType{crypto11.CkaLabel, crypto11.CkaId})
	if err != nil {
		return "a key without a name"
	}
	name := "a key"
	if label := attributes[crypto11.CkaLabel]; label != nil {
		name = fmt.Sprintf("%q", label.Value)
	}
	if id := attributes[crypto11.CkaId]; id != nil {
		name += fmt.Sprintf(" (id %x)", id.Value)
	}
	return name
}

// signAndVerify signs a random digest and verifies it with Go's crypto.
func signAndVerify(signer crypto11.Signer) error {
	digest := make([]byte, sha256.Size)
	_, _ = rand.Read(digest)
	signature, err := signer.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		return err
	}
	good := false
	switch public := signer.Public().(type) {
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature) == nil
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(public, digest, signature)
	}
	if !good {
		return fault.New(fault.SignatureInvalid, "the signature does not verify with the key's public half: the halves do not belong together, or the HSM miscalculates")
	}
	return nil
}

var _ provider.Checker = (*Provider)(nil)
