package command

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// rotatedView is what a rotation has done.
type rotatedView struct {
	Key          keyView   `json:"key"`
	Older        []keyView `json:"older"`
	Certificates []keyView `json:"certificates"`
	// Request is the command that asks for a certificate of the new key.
	Request string `json:"certificate_request,omitempty"`
}

func (c *cli) keyRotate() *cobra.Command {
	var token, to string
	var now, finish bool
	command := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Make a new version of a key under the same label",
		Long: `Make a new key of the same type, with the same rights, under the label of the old one. The old version becomes
"LABEL (v1)". It keeps its id, its handle and its certificate, and goes on to decrypt and verify for ever. It also goes on
to sign, because its certificate is in use until there is one for the new key: ask for that, install it, then run
anyhsm key rotate KEY --finish, which ends signing and encrypting with all older versions. --now ends it at once.
` + selectors + ".",
		Example: `  anyhsm key rotate tls --token web
  anyhsm key rotate tls --to aws --token web
  anyhsm key rotate tls --finish --token web`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&to, "to", "", "`PROVIDER` that makes the new key (default: the old one's)")
	command.Flags().BoolVar(&now, "now", false, "the old version stops signing and encrypting at once")
	command.Flags().BoolVar(&finish, "finish", false, "make no key; the older versions stop signing and encrypting")
	command.MarkFlagsMutuallyExclusive("now", "finish")
	command.MarkFlagsMutuallyExclusive("to", "finish")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		request := &anyhsmv1.RotateKeyRequest{
			RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, Provider: to, Now: now, Finish: finish,
		}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			done := terminal.Progress(c.Err, "Rotating "+clean(args[0]))
			response, err := anyhsmv1.NewPlacementServiceClient(daemon).RotateKey(ctx, request)
			done()
			if err != nil {
				return err
			}
			view := rotatedView{
				Key: viewKey(token, response.GetKey()), Older: viewKeys(token, response.GetOlder()), Certificates: viewKeys(token, response.GetCertificates()),
			}
			if finish {
				return c.show(view, func(w io.Writer) { view.finished(w) })
			}
			if view.Key.PublicKey != "" {
				view.Request = certificateRequest(view.Key, response.GetCertificates())
			}
			return c.show(view, func(w io.Writer) { view.rotated(w, now) })
		})
	}
	return command
}

func (v rotatedView) finished(w io.Writer) {
	fmt.Fprintf(w, "The older versions of %s sign and encrypt no more; they decrypt and verify.\n", clean(v.Key.Label))
	keyTable(w, append(v.Older, v.Certificates...), false)
}

func (v rotatedView) rotated(w io.Writer, now bool) {
	older := clean(v.Older[0].Label)
	fmt.Fprintf(w, "Made a new version of %s in %s: id %s.\n", clean(v.Key.Label), v.Key.Provider, orDash(v.Key.KeyID))
	if now {
		fmt.Fprintf(w, "The old one is %q now. It decrypts and verifies, and signs and encrypts no more.\n", older)
	} else {
		fmt.Fprintf(w, "The old one is %q now. It still works, also for signing, until you run\n  anyhsm key rotate %s --finish --token %s\n",
			older, shellWord(v.Key.Label), shellWord(v.Key.Token))
	}
	for _, certificate := range v.Certificates {
		fmt.Fprintf(w, "The certificate %s (label %s) is the old key's; do not restart a server with it and the new key.\n",
			clean(certificate.Subject), clean(certificate.Label))
	}
	if v.Request != "" {
		fmt.Fprintf(w, "Ask for a certificate of the new key with\n  %s\nand store what you get with\n  anyhsm cert import %s --token %s\n",
			v.Request, shellWord(fileName(v.Key.Label)+".crt"), shellWord(v.Key.Token))
	}
	keyTable(w, append([]keyView{v.Key}, v.Older...), false)
}

// certificateRequest is an OpenSSL command line that makes a request for a key, with the names of the certificate that
// the old one has.
func certificateRequest(key keyView, certificates []*anyhsmv1.KeySummary) string {
	subject, names := "/CN="+key.Label, ""
	if len(certificates) > 0 {
		if old, err := x509.ParseCertificate(certificates[0].GetCertificate()); err == nil {
			subject, names = openSSLName(old), alternatives(old)
		}
	}
	command := "openssl req -new -engine pkcs11 -keyform engine -key " + shellWord(key.uri()) + " -subj " + shellWord(subject)
	if names != "" {
		command += " -addext " + shellWord("subjectAltName="+names)
	}
	return command + " -out " + shellWord(fileName(key.Label)+".csr")
}

// openSSLName writes a subject as openssl's -subj takes it.
func openSSLName(certificate *x509.Certificate) string {
	known := map[string]string{
		"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.5": "serialNumber",
		"1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC",
	}
	var b strings.Builder
	for _, name := range certificate.Subject.Names {
		kind, ok := known[name.Type.String()]
		if !ok {
			kind = name.Type.String()
		}
		value := strings.NewReplacer(`\`, `\\`, "/", `\/`, "+", `\+`).Replace(fmt.Sprint(name.Value))
		fmt.Fprintf(&b, "/%s=%s", kind, value)
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// alternatives writes a certificate's other names as openssl's configuration has them.
func alternatives(certificate *x509.Certificate) string {
	var names []string
	for _, name := range certificate.DNSNames {
		names = append(names, "DNS:"+name)
	}
	for _, address := range certificate.IPAddresses {
		names = append(names, "IP:"+address.String())
	}
	for _, address := range certificate.EmailAddresses {
		names = append(names, "email:"+address)
	}
	for _, uri := range certificate.URIs {
		names = append(names, "URI:"+uri.String())
	}
	return strings.Join(names, ",")
}

// fileName makes a file's name of a label.
func fileName(label string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r < ' ' {
			return '-'
		}
		return r
	}, clean(label))
}
