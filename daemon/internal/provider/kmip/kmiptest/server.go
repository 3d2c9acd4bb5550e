package kmiptest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
)

// maxRequest is the most that the server reads as one message.
const maxRequest = 1 << 20

// Server is a strict server of KMIP 2.0 and 2.1, in memory. What it refuses a real one may refuse too: items that an
// operation does not have, wrong lengths of digests, keys that are not active or not for this use, names given twice.
type Server struct {
	// Username and Password are wanted in the request's credential where Username is not empty.
	Username, Password string
	fault              atomic.Pointer[Fault]
	listener           net.Listener
	config             *tls.Config

	mu      sync.Mutex
	objects map[string]*object
	next    int
	// calls counts the operations.
	calls map[uint32]int

	open  sync.Map
	serve sync.WaitGroup
}

// Fault sees each request and may answer in the server's place, or with the server's answer: it writes what it likes, and
// tells whether the connection goes on.
type Fault func(operation uint32, c net.Conn, answer func() []byte) (handled, goOn bool)

// SetFault begins to inject a fault; nil ends it.
func (s *Server) SetFault(f Fault) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// NewServer makes a server that listens at an address, with certificates as files.
func NewServer(address, certificate, key, ca string) (*Server, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	authorities, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	s := &Server{objects: map[string]*object{}, calls: map[uint32]int{}, config: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}}
	return s, s.Listen(address)
}

// Listen begins to serve, also after Stop: the keys are still there.
func (s *Server) Listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.listener = listener
	s.serve.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			s.open.Store(c, nil)
			s.serve.Go(func() {
				defer s.open.Delete(c)
				defer func() { _ = c.Close() }()
				s.converse(tls.Server(c, s.config))
			})
		}
	})
	return nil
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Stop cuts off all connections and listens no more.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	s.serve.Wait()
}

// Calls tells how often an operation was asked for.
func (s *Server) Calls(operation uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Living tells how many objects of a type are there that are not destroyed.
func (s *Server) Living(kind uint32) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		if o.kind == kind && o.state != ttlv.StateDestroyed {
			n++
		}
	}
	return n
}

func (s *Server) converse(c *tls.Conn) {
	for {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		message, err := ttlv.Read(c, maxRequest)
		if err != nil {
			return
		}
		operation := message.In(ttlv.TagBatchItem).Enum(ttlv.TagOperation)
		answer := func() []byte { return ttlv.Marshal(s.answer(message)) }
		if f := s.fault.Load(); f != nil {
			if handled, goOn := (*f)(operation, c, answer); handled {
				if !goOn {
					return
				}
				continue
			}
		}
		if _, err := c.Write(answer()); err != nil {
			return
		}
	}
}

// refusal is why an operation fails.
type refusal struct {
	reason uint32
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(reason uint32, format string, args ...any) error {
	return &refusal{reason, fmt.Sprintf(format, args...)}
}

// answer makes the response message.
func (s *Server) answer(message ttlv.Item) ttlv.Item {
	minor := int32(1)
	if got, ok := message.In(ttlv.TagRequestHeader).In(ttlv.TagProtocolVersion).Value(ttlv.TagProtocolVersionMinor, ttlv.IntegerType); ok && got == 0 {
		minor = 0
	}
	batch := ttlv.Structure(ttlv.TagBatchItem)
	operation, payload, err := s.request(message)
	if operation != 0 {
		batch.Items = append(batch.Items, ttlv.Enumeration(ttlv.TagOperation, operation))
	}
	var items []ttlv.Item
	if err == nil {
		items, err = s.perform(operation, payload)
	}
	if err != nil {
		r, ok := err.(*refusal)
		if !ok {
			r = &refusal{ttlv.ReasonCryptographicFailure, err.Error()}
		}
		batch.Items = append(batch.Items, ttlv.Enumeration(ttlv.TagResultStatus, ttlv.StatusFailed),
			ttlv.Enumeration(ttlv.TagResultReason, r.reason), ttlv.TextString(ttlv.TagResultMessage, r.text))
	} else {
		batch.Items = append(batch.Items, ttlv.Enumeration(ttlv.TagResultStatus, ttlv.StatusSuccess),
			ttlv.Structure(ttlv.TagResponsePayload, items...))
	}
	return ttlv.Structure(ttlv.TagResponseMessage, ttlv.Structure(ttlv.TagResponseHeader,
		ttlv.Structure(ttlv.TagProtocolVersion, ttlv.Integer(ttlv.TagProtocolVersionMajor, 2), ttlv.Integer(ttlv.TagProtocolVersionMinor, minor)),
		ttlv.DateTime(ttlv.TagTimeStamp, time.Now()), ttlv.Integer(ttlv.TagBatchCount, 1)), batch)
}

// request checks the message around an operation.
func (s *Server) request(message ttlv.Item) (uint32, ttlv.Item, error) {
	header := message.In(ttlv.TagRequestHeader)
	version := header.In(ttlv.TagProtocolVersion)
	major, _ := version.Value(ttlv.TagProtocolVersionMajor, ttlv.IntegerType)
	minor, _ := version.Value(ttlv.TagProtocolVersionMinor, ttlv.IntegerType)
	count, _ := header.Value(ttlv.TagBatchCount, ttlv.IntegerType)
	batch := message.In(ttlv.TagBatchItem)
	operation := batch.Enum(ttlv.TagOperation)
	switch {
	case message.Tag != ttlv.TagRequestMessage || len(message.Items) != 2 || count != 1:
		return operation, message, refuse(ttlv.ReasonInvalidMessage, "not one header and one batch item")
	case major != 2 || minor > 1:
		return operation, message, refuse(ttlv.ReasonUnsupportedProtocolVersion, "version %d.%d", major, minor)
	}
	if s.Username != "" {
		value := header.In(ttlv.TagAuthentication).In(ttlv.TagCredential).In(ttlv.TagCredentialValue)
		if value.Text(ttlv.TagUsername) != s.Username || value.Text(ttlv.TagPassword) != s.Password {
			return operation, message, refuse(ttlv.ReasonAuthenticationNotSuccessful, "who are you?")
		}
	}
	s.mu.Lock()
	s.calls[operation]++
	s.mu.Unlock()
	return operation, batch.In(ttlv.TagRequestPayload), nil
}

func (s *Server) identifier() string {
	s.next++
	return "key-" + strconv.Itoa(s.next)
}
