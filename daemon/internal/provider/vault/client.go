package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// client speaks Vault's API, which is JSON over HTTP, by net/http. Vault's own Go client would bring thirty modules along,
// and retries of its own that wait beyond a call's deadline.
type client struct {
	address, namespace string
	http               *http.Client
	idle               func()
}

// connections is how many idle connections are kept: a TLS server under load has that many signatures under way, and
// a handshake costs more than a signature.
const connections = 64

// maxAnswer bounds what is read of an answer: a listing of 100,000 keys has 6 MB.
const maxAnswer = 64 << 20

// maxRedirects is how often a request is sent on: a standby names the active server.
const maxRedirects = 2

// newClient makes the client. Nothing is sent yet.
func newClient(c Config) (*client, error) {
	configuration := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fault.New(fault.InvalidInput, "ca: %w; correct the path, or make the file readable", err)
		}
		configuration.RootCAs = x509.NewCertPool()
		if !configuration.RootCAs.AppendCertsFromPEM(text) {
			return nil, fault.New(fault.InvalidInput, "ca: %s holds no certificate; give a PEM file", c.CA)
		}
	}
	if c.Certificate != "" {
		configuration.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
			if err != nil {
				return nil, fmt.Errorf("the daemon's certificate cannot be used: %w", err)
			}
			return &pair, nil
		}
		if _, err := configuration.GetClientCertificate(nil); err != nil {
			return nil, fault.New(fault.InvalidInput, "%w; give PEM files of a certificate and its key", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = connections, connections
	transport.TLSClientConfig = configuration
	return &client{
		address: c.Address, namespace: c.Namespace, idle: transport.CloseIdleConnections,
		http: &http.Client{Transport: transport, CheckRedirect: redirect},
	}, nil
}

// redirect follows a standby to the active server, and nobody to where the token would be seen.
func redirect(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects || next.URL.Scheme != "https" && !local(next.URL.Hostname()) || next.Method != before[0].Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// answer is the frame of Vault's answers.
type answer struct {
	Data   json.RawMessage `json:"data"`
	Auth   *grant          `json:"auth"`
	Errors []string        `json:"errors"`
}

// grant is what a login gives.
type grant struct {
	Token     string `json:"client_token"`
	Seconds   int64  `json:"lease_duration"`
	Renewable bool   `json:"renewable"`
}

// refusal is an answer that is none of success.
type refusal struct {
	status int
	errors []string
	after  time.Duration
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d", r.status) }

// send makes one request. in is the body, nil for none. Its error is a *refusal where Vault, or what stands before it, has
// answered.
func (c *client) send(ctx context.Context, method, path, token string, in any) (answer, error) {
	var none answer
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return none, err
		}
		defer clear(text)
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.address+"/v1/"+path, body)
	if err != nil {
		return none, err
	}
	// Vault's agents and proxies can be told to take no request without it.
	request.Header.Set("X-Vault-Request", "true")
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	if c.namespace != "" && path != pathHealth { // The health is the root namespace's.
		request.Header.Set("X-Vault-Namespace", c.namespace)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return none, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return none, err
	}
	defer clear(text)
	return readAnswer(response.StatusCode, response.Header.Get("Retry-After"), text)
}

var errNoAnswer = errors.New("the answer is not in Vault's format")

// readAnswer reads the body of an answer.
func readAnswer(status int, after string, text []byte) (answer, error) {
	var a answer
	err := json.Unmarshal(text, &a)
	switch {
	case len(text) > maxAnswer:
		return answer{}, fmt.Errorf("%w: it is longer than %d bytes", errNoAnswer, maxAnswer)
	case status < 200 || status > 299:
		// What stands before Vault may answer in HTML: the status tells enough.
		return answer{}, &refusal{status: status, errors: a.Errors, after: retryAfter(after)}
	case status == http.StatusNoContent || len(text) == 0:
		return answer{}, nil
	case err != nil:
		return answer{}, errNoAnswer
	}
	return a, nil
}

// retryAfter reads how long the service wants to be left alone.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
