package command

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const largestFile = 1 << 20

func (c *cli) keyImport() *cobra.Command {
	var t template
	var kind, encoding string
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a private or secret key",
		Long: `Import a key from a file, or from standard input if FILE is -. A private key is PKCS#8, PKCS#1 or SEC1 in PEM or DER,
unencrypted; with --type aes or generic the file is the secret itself, in --encoding.`,
		Example: `  anyhsm key import tls.key --token web --label tls
  openssl pkey -in encrypted.key | anyhsm key import - --token web --label tls
  anyhsm key import secret.hex --token web --label mac --type generic --encoding hex`,
		Args: arguments(1, 1, "FILE"),
	}
	t.add(command)
	command.Flags().StringVar(&t.label, "label", "", "`LABEL` of the key")
	command.Flags().StringVar(&kind, "type", "private", "`TYPE`: private, aes or generic")
	command.Flags().StringVar(&encoding, "encoding", "raw", "`ENCODING` of a secret: raw, hex or base64")
	_ = command.MarkFlagRequired("label")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, t.token)
		if err != nil {
			return err
		}
		id, err := keyID(command, t.id)
		if err != nil {
			return err
		}
		if kind != "private" && kind != "aes" && kind != "generic" {
			return usage(command, "--type %q is none of private, aes, generic", kind)
		}
		if encoding != "raw" && encoding != "hex" && encoding != "base64" {
			return usage(command, "--encoding %q is none of raw, hex, base64", encoding)
		}
		content, err := c.readFile(args[0])
		if err != nil {
			return err
		}
		defer clear(content)
		request := &anyhsmv1.ImportKeyRequest{
			RequestId: newRequestID(), Token: token, Label: t.label, KeyId: id, Usage: t.usage, Extractable: t.extractable,
		}
		if err := fillImport(request, content, kind, encoding); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).ImportKey(ctx, request)
			if err != nil {
				return err
			}
			return c.showNewKey("Imported", token, response.GetKey())
		})
	}
	return command
}

func (c *cli) readFile(path string) ([]byte, error) {
	from := c.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	content, err := io.ReadAll(io.LimitReader(from, largestFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case len(content) > largestFile:
		return nil, fmt.Errorf("%s is larger than %d bytes: no key or certificate is", path, largestFile)
	case len(content) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return content, nil
}

func fillImport(request *anyhsmv1.ImportKeyRequest, content []byte, kind, encoding string) error {
	if kind == "private" {
		der, err := privateKey(content)
		request.Key = &anyhsmv1.ImportKeyRequest_Pkcs8{Pkcs8: der}
		return err
	}
	secret, err := content, error(nil)
	switch encoding {
	case "hex":
		secret, err = hex.DecodeString(string(bytes.TrimSpace(content)))
	case "base64":
		secret, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(content)))
	}
	if err != nil {
		// The decoders' errors quote the input, which is the secret.
		return fmt.Errorf("this is not %s", encoding)
	}
	request.SecretType = kind
	request.Key = &anyhsmv1.ImportKeyRequest_Secret{Secret: secret}
	return nil
}

// privateKey returns the PKCS#8 form of a private key in PEM or DER.
func privateKey(content []byte) ([]byte, error) {
	rest := content
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errors.New("the key is encrypted; decrypt it on the way: openssl pkey -in FILE | anyhsm key import - …")
		case block.Type == "PRIVATE KEY" || block.Type == "RSA PRIVATE KEY" || block.Type == "EC PRIVATE KEY":
			return pkcs8(block.Bytes)
		}
		rest = next
	}
	if bytes.Contains(content, []byte("-----BEGIN")) {
		return nil, errors.New("there is no private key in it; one begins with -----BEGIN PRIVATE KEY-----")
	}
	return pkcs8(content)
}

func pkcs8(der []byte) ([]byte, error) {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return der, nil
	}
	var key any
	if rsa, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		key = rsa
	} else if ec, err := x509.ParseECPrivateKey(der); err == nil {
		key = ec
	} else {
		return nil, errors.New("this is no private key in PKCS#8, PKCS#1 or SEC1 that can be read; for a secret key give --type aes or generic")
	}
	return x509.MarshalPKCS8PrivateKey(key)
}
