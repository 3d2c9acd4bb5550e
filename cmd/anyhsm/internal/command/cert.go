package command

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) certCommand() *cobra.Command {
	return group("cert", "Import and list certificates",
		`Certificates in a token tell applications which key belongs to which name; Java shows a private key only with its
certificate beside it.`,
		`  anyhsm cert import tls.pem --token web --label tls
  anyhsm cert list --token web`,
		c.certImport(), c.certList())
}

func (c *cli) certImport() *cobra.Command {
	var token, label, id string
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a certificate, or a chain",
		Long: `Import all certificates of a PEM file, or one in DER; FILE - is standard input. The first takes --label and --id; by
default its id is that of the key pair that it belongs to, and labels are the certificates' common names. Certificates
further up the chain that the token has already are left alone.`,
		Example: `  anyhsm cert import tls.pem --token web --label tls
  anyhsm cert import chain.pem --token web`,
		Args: arguments(1, 1, "FILE"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&label, "label", "", "`LABEL` of the first certificate (default: its common name)")
	keyIDFlag(command, &id, "of the first certificate (default: its key's)")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		first, err := keyID(command, id)
		if err != nil {
			return err
		}
		content, err := c.readFile(args[0])
		if err != nil {
			return err
		}
		chain, err := certificates(content)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			views := []keyView{}
			for i, certificate := range chain {
				request := &anyhsmv1.ImportCertificateRequest{
					RequestId: newRequestID(), Token: token, Certificate: certificate.Raw, Label: commonName(certificate),
				}
				if i == 0 {
					request.KeyId = first
					if label != "" {
						request.Label = label
					}
				}
				response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).ImportCertificate(ctx, request)
				if i > 0 && fault.Is(err, fault.AlreadyExists) {
					fmt.Fprintf(c.Err, "anyhsm: %s is there already\n", clean(certificate.Subject.String()))
					continue
				}
				if err != nil {
					return fmt.Errorf("certificate %d of %d (%s): %w", i+1, len(chain), certificate.Subject, err)
				}
				views = append(views, viewKey(token, response.GetCertificate()))
			}
			return c.show(views, func(w io.Writer) {
				fmt.Fprintf(w, "Imported %s into token %s.\n", count(uint64(len(views)), "certificate"), clean(token))
				certificateTable(w, views, false)
			})
		})
	}
	return command
}

func commonName(certificate *x509.Certificate) string {
	if certificate.Subject.CommonName != "" {
		return certificate.Subject.CommonName
	}
	return certificate.Subject.String()
}

func certificates(content []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := content; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		if rest = next; block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	if len(chain) > 0 {
		return chain, nil
	}
	if bytes.Contains(content, []byte("-----BEGIN")) {
		return nil, errors.New("there is no certificate in it; one begins with -----BEGIN CERTIFICATE-----")
	}
	certificate, err := x509.ParseCertificate(content)
	if err != nil {
		return nil, fmt.Errorf("this is no certificate in PEM or DER: %w", err)
	}
	return []*x509.Certificate{certificate}, nil
}

func (c *cli) certList() *cobra.Command {
	var token string
	command := &cobra.Command{
		Use: "list", Short: "List certificates", Long: "List the certificates of a token, or of all tokens without --token.",
		Example: "  anyhsm cert list\n  anyhsm cert list --token web --json",
		Args:    arguments(0, 0),
	}
	command.Flags().StringVarP(&token, "token", "t", "", "label or uid of the `TOKEN` (default $ANYHSM_TOKEN, else all)")
	command.RunE = func(command *cobra.Command, _ []string) error {
		keep := func(views []keyView) []keyView { return views }
		if token == "" {
			token = os.Getenv(tokenVariable)
		}
		return c.listObjects(command.Context(), token, uint64(cryptoki.CKO_CERTIFICATE)+1, keep,
			"No certificates. Import one: anyhsm cert import FILE --token TOKEN")
	}
	return command
}

func certificateTable(w io.Writer, views []keyView, withToken bool) {
	header := []string{"LABEL", "ID", "SUBJECT", "EXPIRES"}
	if withToken {
		header = append([]string{"TOKEN"}, header...)
	}
	rows := make([][]string, 0, len(views))
	for _, v := range views {
		row := []string{v.Label, short(v.KeyID), v.Subject, v.expires()}
		if withToken {
			row = append([]string{v.Token}, row...)
		}
		rows = append(rows, row)
	}
	table(w, header, rows)
}

// expires is the end of a certificate's validity.
func (v keyView) expires() string {
	block, _ := pem.Decode([]byte(v.Certificate))
	if block == nil {
		return ""
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "unreadable"
	}
	return certificate.NotAfter.Local().Format("2006-01-02")
}
