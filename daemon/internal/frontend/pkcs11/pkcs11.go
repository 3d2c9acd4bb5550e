// Package pkcs11 is the front end of the module: it decodes calls of proto/anyhsm/v1 (token, object, crypto), hands
// them to keyservice and encodes the answers, nothing else. Errors leave as they are; the server turns them into
// statuses.
package pkcs11

import (
	"context"

	"google.golang.org/grpc"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	rules "github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// Register registers the services that the module calls.
func Register(registrar grpc.ServiceRegistrar, keys *keyservice.Service) {
	anyhsmv1.RegisterTokenServiceServer(registrar, tokenServer{keys: keys})
	anyhsmv1.RegisterObjectServiceServer(registrar, objectServer{keys: keys})
	anyhsmv1.RegisterCryptoServiceServer(registrar, cryptoServer{keys: keys})
}

// call makes keyservice's call of a request's header.
func call(ctx context.Context, header *anyhsmv1.CallHeader) keyservice.Call {
	return keyservice.Call{
		Caller: authn.FromContext(ctx), Token: header.GetToken(), Ticket: header.GetTicket(),
		ContextTicket: header.GetContextTicket(), RequestID: header.GetRequestId(),
		Revision: header.GetRevision(),
	}
}

func reply(r keyservice.Reply) *anyhsmv1.ReplyHeader {
	return &anyhsmv1.ReplyHeader{Revision: r.Revision, Ticket: r.Ticket}
}

func reference(key *anyhsmv1.KeyReference) keyservice.KeyRef {
	return keyservice.KeyRef{Object: key.GetObject(), Sealed: key.GetSealed()}
}

func mechanism(m *anyhsmv1.Mechanism) (cryptoki.Mechanism, error) {
	if m == nil {
		return cryptoki.Mechanism{}, fault.New(fault.MechanismInvalid, "the request names no mechanism; give one")
	}
	return wire.MechanismFromProto(m)
}

func object(o keyservice.Object) *anyhsmv1.Object {
	return &anyhsmv1.Object{
		Id: o.ID, Attributes: wire.AttributesToProto(o.Attributes), Sealed: o.Sealed,
		Secret: wire.AttributesToProto(o.Secret), Limits: limits(o.Limits),
	}
}

func limits(all []rules.Limit) (messages []*anyhsmv1.MechanismLimit) {
	for _, l := range all {
		message := &anyhsmv1.MechanismLimit{
			Type: uint64(l.Type), AnyHash: l.Hashes == nil, SameMgf: l.SameMGF, NoLabel: l.NoLabel, SaltIsHash: l.SaltIsHash,
			MinSalt: l.MinSalt, IvSize: uint32(l.IVSize), TagSize: uint32(l.TagSize),
		}
		for _, h := range l.Hashes {
			message.Hashes = append(message.Hashes, uint64(h))
		}
		messages = append(messages, message)
	}
	return messages
}
