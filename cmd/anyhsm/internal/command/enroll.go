package command

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/credential"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/secret"
	"github.com/anyhsm/anyhsm/internal/enrollment"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) enrollCommand() *cobra.Command {
	var dir, code string
	var force bool
	command := &cobra.Command{
		Use:   "enroll",
		Short: "Get a certificate for an application with a one-time code",
		Long: `Get an application's certificate from the daemon at --endpoint, with a code that an administrator made with
anyhsm app code. The code is asked on the terminal unless --code says where it is.

The private key is made here and never leaves: app.key (mode 0600), app.crt, ca.crt and a module.toml for the PKCS#11
module are written into --dir. The daemon is recognised by the CA's fingerprint in the code.`,
		Example: `  anyhsm enroll --endpoint tcp://hsm.example.org:7512 --dir /etc/anyhsm
  anyhsm enroll --endpoint tcp://hsm.example.org:7512 --dir ~/.config/anyhsm --code env:ENROLLMENT_CODE`,
		Args: arguments(0, 0),
	}
	command.Flags().StringVar(&dir, "dir", "", "`DIR` for the key, the certificates and module.toml")
	command.Flags().StringVar(&code, "code", "prompt", "where the code is: `REF` is "+secret.Forms)
	command.Flags().BoolVar(&force, "force", false, "replace the files of an earlier enrollment")
	_ = command.MarkFlagRequired("dir")
	command.RunE = func(command *cobra.Command, _ []string) error {
		if !strings.HasPrefix(c.daemon.Endpoint, "tcp://") {
			return usage(command, "give --endpoint tcp://HOST:PORT; over a Unix socket the user is identity enough: anyhsm app add NAME --user USER")
		}
		reference, err := secret.Parse(code)
		if err != nil {
			return usage(command, "--code: %w", err)
		}
		text, err := reference.Read(command.Context(), c.In, "Enrollment code", false)
		if err != nil {
			return err
		}
		parsed, err := enrollment.Parse(string(text))
		if err != nil {
			return err
		}
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		return c.enroll(command.Context(), parsed, absolute, force)
	}
	return command
}

func (c *cli) enroll(ctx context.Context, code enrollment.Code, dir string, force bool) error {
	if c.timeout == 0 {
		c.timeout = shortWork
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// The files come first: a code that is used up for a directory that cannot be written is lost.
	files, err := credential.Prepare(dir, force)
	if err != nil {
		return err
	}
	defer files.Discard()
	known := func(host string) *tls.Config { return enrollment.TLSConfig(code, host) }
	daemon, err := connection.OpenPinned(ctx, c.daemon.Endpoint, known)
	if err != nil {
		return err
	}
	defer daemon.Close()
	request := &anyhsmv1.EnrollRequest{Code: code.String(), CertificateRequest: files.Request()}
	response, err := anyhsmv1.NewEnrollmentServiceClient(daemon).Enroll(ctx, request)
	if err != nil {
		return err
	}
	if err := files.Check(response.GetCertificateChain(), response.GetCaCertificate(), code.Names); err != nil {
		return fmt.Errorf("the daemon's answer is wrong: %w; nothing was written", err)
	}
	configuration := modulefile.Config{
		Endpoints: []string{c.daemon.Endpoint}, Timeout: "30s", TLS: connection.FilesIn(dir),
	}
	written, err := files.Keep(response.GetCertificateChain(), response.GetCaCertificate(), configuration.Text())
	if err != nil {
		return err
	}
	return c.showEnrolled(response.GetApplication(), dir, written)
}

func (c *cli) showEnrolled(application, dir string, written []string) error {
	view := struct {
		Application string   `json:"application"`
		Files       []string `json:"files"`
	}{application, written}
	return c.show(view, func(w io.Writer) {
		fmt.Fprintf(w, "Enrolled as application %s. Written:\n", clean(application))
		for _, path := range written {
			fmt.Fprintf(w, "  %s\n", path)
		}
		config := filepath.Join(dir, "module.toml")
		fmt.Fprintf(w, "The module reads it with ANYHSM_CONFIG=%s", word(config))
		if config == modulefile.SystemPath || config == modulefile.Here().UserPath() {
			fmt.Fprint(w, ", and finds it there by itself")
		}
		fmt.Fprintf(w, ".\nThe application's user must be able to read app.key.\n")
	})
}
