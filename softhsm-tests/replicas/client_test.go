package replicas

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// client calls one daemon as the module would.
type client struct {
	*daemontest.Daemon
	connection *grpc.ClientConn
	token      string
	ticket     []byte
	// again makes calls that fail for a reason that passes once more, as the module does.
	again bool
}

// dial connects to a daemon's socket; token is a uid.
func dial(t *testing.T, d *daemontest.Daemon) *client {
	t.Helper()
	c := &client{Daemon: d}
	var err error
	c.connection, err = grpc.NewClient("unix://"+d.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
			ctx = metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
			for {
				err := call(ctx, method, request, response, conn, options...)
				code := status.Code(err)
				if !c.again || code != codes.Unavailable && code != codes.Aborted || ctx.Err() != nil {
					return wire.ErrorFromStatus(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.connection.Close() })
	return c
}

// within is the context of one call.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (c *client) header() *anyhsmv1.CallHeader {
	return &anyhsmv1.CallHeader{Token: c.token, Ticket: c.ticket}
}

// find looks for the token by its label.
func (c *client) find(t *testing.T) {
	t.Helper()
	response, err := anyhsmv1.NewTokenAdminServiceClient(c.connection).ListTokens(within(t), &anyhsmv1.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range response.GetTokens() {
		if token.GetToken().GetLabel() == "test" {
			c.token = token.GetToken().GetUid()
			return
		}
	}
	t.Fatal("there is no token")
}

func (c *client) login(ctx context.Context, pin string) error {
	response, err := anyhsmv1.NewTokenServiceClient(c.connection).Login(ctx, &anyhsmv1.LoginRequest{
		Header: &anyhsmv1.CallHeader{Token: c.token}, UserType: uint64(cryptoki.CKU_USER), Pin: []byte(pin),
	})
	if err == nil {
		c.ticket = response.GetTicket()
	}
	return err
}

var oidP256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

type key struct {
	id     uint64
	public *ecdsa.PublicKey
}

// generate makes a P-256 token key pair.
func (c *client) generate(ctx context.Context, request, label string) (key, error) {
	mechanism, err := wire.MechanismToProto(cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN})
	if err != nil {
		return key{}, err
	}
	header := c.header()
	header.RequestId = request
	response, err := anyhsmv1.NewObjectServiceClient(c.connection).GenerateKeyPair(ctx, &anyhsmv1.GenerateKeyPairRequest{
		Header: header, Mechanism: mechanism,
		PublicTemplate: wire.AttributesToProto(cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, oidP256), cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, label),
		}),
		PrivateTemplate: wire.AttributesToProto(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, label)}),
	})
	if err != nil {
		return key{}, err
	}
	point := wire.AttributesFromProto(response.GetPublicKey().GetAttributes()).Bytes(cryptoki.CKA_EC_POINT)
	if len(point) < 2 {
		return key{}, fault.New(fault.Internal, "the key has no point")
	}
	// A DER OCTET STRING: two bytes, then the point.
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[2:])
	return key{id: response.GetPrivateKey().GetId(), public: public}, err
}

// sign signs with a key and lets crypto/ecdsa verify.
func (c *client) sign(ctx context.Context, k key) error {
	digest := sha256.Sum256([]byte(rand.Text()))
	response, err := anyhsmv1.NewCryptoServiceClient(c.connection).Sign(ctx, &anyhsmv1.SignRequest{
		Header: c.header(), Key: &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Object{Object: k.id}},
		Mechanism: &anyhsmv1.Mechanism{Type: uint64(cryptoki.CKM_ECDSA)}, Data: digest[:],
	})
	if err != nil {
		return err
	}
	raw := response.GetSignature()
	r, s := new(big.Int).SetBytes(raw[:len(raw)/2]), new(big.Int).SetBytes(raw[len(raw)/2:])
	if !ecdsa.Verify(k.public, digest[:], r, s) {
		return fault.New(fault.SignatureInvalid, "the signature does not verify")
	}
	return nil
}

// listed returns how often each label occurs among the token's private keys.
func (c *client) listed(t *testing.T) map[string]int {
	t.Helper()
	labels, page := map[string]int{}, ""
	for {
		response, err := anyhsmv1.NewObjectServiceClient(c.connection).ListObjects(within(t), &anyhsmv1.ListObjectsRequest{Header: c.header(), Page: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range response.GetObjects() {
			attributes := wire.AttributesFromProto(o.GetAttributes())
			if class, _ := attributes.Class(); class == cryptoki.CKO_PRIVATE_KEY {
				labels[string(attributes.Bytes(cryptoki.CKA_LABEL))]++
			}
		}
		if page = response.GetNextPage(); page == "" {
			return labels
		}
	}
}
