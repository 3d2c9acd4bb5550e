package pkcs11

import (
	"context"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/version"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type tokenServer struct {
	anyhsmv1.UnimplementedTokenServiceServer
	keys *keyservice.Service
}

// ListSlots returns the slots that the caller may see, with their tokens and mechanism tables.
func (s tokenServer) ListSlots(ctx context.Context, request *anyhsmv1.ListSlotsRequest) (*anyhsmv1.ListSlotsResponse, error) {
	slots, err := s.keys.ListSlots(ctx, keyservice.Call{Caller: authn.FromContext(ctx)}, request.GetModuleVersion())
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListSlotsResponse{DaemonVersion: version.Version}
	for _, listed := range slots.Slots {
		response.Slots = append(response.Slots, slot(listed))
	}
	for _, table := range slots.Tables {
		message := &anyhsmv1.MechanismTable{}
		for _, m := range table {
			message.Mechanisms = append(message.Mechanisms, &anyhsmv1.MechanismInfo{
				Type: uint64(m.Type), MinKeySize: m.MinSize, MaxKeySize: m.MaxSize, Flags: uint64(m.Flags),
			})
		}
		response.MechanismTables = append(response.MechanismTables, message)
	}
	return response, nil
}

// InitToken makes the token of the free slot, or wipes and renames an existing one with its SO PIN.
func (s tokenServer) InitToken(ctx context.Context, request *anyhsmv1.InitTokenRequest) (*anyhsmv1.InitTokenResponse, error) {
	defer clear(request.GetSoPin())
	c := keyservice.Call{Caller: authn.FromContext(ctx), RequestID: request.GetRequestId()}
	made, err := s.keys.InitToken(ctx, c, request.GetSlotId(), request.GetSoPin(), request.GetLabel())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.InitTokenResponse{Slot: slot(made)}, nil
}

// InitPin sets the user PIN; the ticket must be the SO's.
func (s tokenServer) InitPin(ctx context.Context, request *anyhsmv1.InitPinRequest) (*anyhsmv1.InitPinResponse, error) {
	defer clear(request.GetPin())
	changed, r, err := s.keys.InitPIN(ctx, call(ctx, request.GetHeader()), request.GetPin())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.InitPinResponse{Header: reply(r), Token: token(changed)}, nil
}

// SetPin changes the PIN of the role that is logged in, or the user's in a public session.
func (s tokenServer) SetPin(ctx context.Context, request *anyhsmv1.SetPinRequest) (*anyhsmv1.SetPinResponse, error) {
	defer clear(request.GetOldPin())
	defer clear(request.GetNewPin())
	changed, r, err := s.keys.SetPIN(ctx, call(ctx, request.GetHeader()), request.GetOldPin(), request.GetNewPin())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SetPinResponse{Header: reply(r), Token: token(changed)}, nil
}

// Login checks a PIN and returns a ticket that any replica accepts.
func (s tokenServer) Login(ctx context.Context, request *anyhsmv1.LoginRequest) (*anyhsmv1.LoginResponse, error) {
	defer clear(request.GetPin())
	login, r, err := s.keys.Login(ctx, call(ctx, request.GetHeader()), cryptoki.UserType(request.GetUserType()), request.GetPin())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.LoginResponse{
		Header: reply(r), Ticket: login.Ticket, LifetimeSeconds: seconds(login.Lifetime), Token: token(login.Token),
	}, nil
}

// RenewTicket exchanges a ticket that is still valid for a fresh one.
func (s tokenServer) RenewTicket(ctx context.Context, request *anyhsmv1.RenewTicketRequest) (*anyhsmv1.RenewTicketResponse, error) {
	login, r, err := s.keys.RenewTicket(ctx, call(ctx, request.GetHeader()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.RenewTicketResponse{Header: reply(r), Ticket: login.Ticket, LifetimeSeconds: seconds(login.Lifetime)}, nil
}

func seconds(d time.Duration) uint64 { return uint64(d / time.Second) }

func slot(s keyservice.Slot) *anyhsmv1.Slot {
	return &anyhsmv1.Slot{Id: s.ID, Description: s.Description, Token: token(s.Token), MechanismTable: uint32(s.Table)}
}

func token(t keyservice.Token) *anyhsmv1.Token {
	return &anyhsmv1.Token{
		// A protobuf string must be UTF-8, and a store of another version could hold any label.
		Uid: t.UID, Label: strings.ToValidUTF8(t.Label, "\uFFFD"), SerialNumber: t.Serial, Model: t.Model,
		Flags: uint64(t.Flags), Revision: t.Revision, MinPinLength: t.MinPIN, MaxPinLength: t.MaxPIN,
	}
}
