package module_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	userPIN = "1234"
	soPIN   = "87654321"
	// The slots of the daemon: a token with a login, one without, and the free slot.
	slotA, slotOpen, slotFree = 11, 22, 33
)

// daemon is a strict little daemon in the test's process: it refuses what the real one would refuse, and what the
// module must never send. It outlives its listener, as a store outlives a daemon.
type daemon struct {
	anyhsmv1.UnimplementedTokenServiceServer
	anyhsmv1.UnimplementedObjectServiceServer
	anyhsmv1.UnimplementedCryptoServiceServer

	t      *testing.T
	path   string
	mu     sync.Mutex
	server *grpc.Server

	calls    map[string]int
	tokens   map[string]*fakeToken
	slots    []*fakeToken
	answers  map[string]any
	ids      map[string][]string
	sealed   map[string]*fakeObject
	pageSize int
	// large is how many objects make a token large; none if 0.
	large    int
	lifetime time.Duration
	// before is asked ahead of each call; an error is the answer.
	before func(method string) error
	// after is asked behind each call that succeeded; an error loses the answer.
	after func(method string) error
}

type fakeToken struct {
	slot     uint64
	uid      string
	label    string
	flags    cryptoki.Flags
	so, user string
	revision uint64
	next     uint64
	objects  map[uint64]*fakeObject
	removed  map[uint64]uint64
	tickets  map[string]cryptoki.UserType
	context  map[string]bool
}

type fakeObject struct {
	id       uint64
	open     cryptoki.Attributes
	secret   cryptoki.Attributes
	revision uint64
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	// Not t.TempDir: its name may be too long for a socket.
	dir, err := os.MkdirTemp("", "anyhsm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &daemon{
		t: t, path: filepath.Join(dir, "s"), calls: map[string]int{}, tokens: map[string]*fakeToken{},
		answers: map[string]any{}, ids: map[string][]string{}, sealed: map[string]*fakeObject{}, pageSize: 1000,
		lifetime: 12 * time.Hour,
	}
	const ready = cryptoki.CKF_TOKEN_INITIALIZED | cryptoki.CKF_USER_PIN_INITIALIZED | cryptoki.CKF_RNG
	d.add(&fakeToken{slot: slotA, uid: "uid-a", label: "a", flags: ready | cryptoki.CKF_LOGIN_REQUIRED, so: soPIN, user: userPIN})
	d.add(&fakeToken{slot: slotOpen, uid: "uid-open", label: "open", flags: ready, so: soPIN, user: userPIN})
	d.add(&fakeToken{slot: slotFree, flags: cryptoki.CKF_RNG})
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) add(k *fakeToken) {
	k.objects, k.removed = map[uint64]*fakeObject{}, map[uint64]uint64{}
	k.tickets, k.context = map[string]cryptoki.UserType{}, map[string]bool{}
	k.next, k.revision = 1, 1
	d.slots = append(d.slots, k)
	if k.uid != "" {
		d.tokens[k.uid] = k
	}
}

// start listens; again after stop.
func (d *daemon) start() {
	d.t.Helper()
	_ = os.Remove(d.path)
	listener, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.intercept),
		grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage))
	anyhsmv1.RegisterTokenServiceServer(server, d)
	anyhsmv1.RegisterObjectServiceServer(server, d)
	anyhsmv1.RegisterCryptoServiceServer(server, d)
	d.mu.Lock()
	d.server = server
	d.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// stop drops all connections at once.
func (d *daemon) stop() {
	d.mu.Lock()
	server := d.server
	d.mu.Unlock()
	server.Stop()
}

// changing are the calls that must carry a request id.
var changing = map[string]bool{
	"InitToken": true, "InitPin": true, "SetPin": true, "Login": true, "CreateObject": true, "CopyObject": true,
	"SetAttributes": true, "DestroyObject": true, "GenerateKey": true, "GenerateKeyPair": true, "DeriveKey": true,
	"SeedRandom": true,
}

func (d *daemon) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := filepath.Base(info.FullMethod)
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get(wire.ProtocolHeader)) != 1 || md.Get(wire.ProtocolHeader)[0] != wire.Protocol {
		d.t.Errorf("%s without the protocol's version", method)
	}
	d.mu.Lock()
	d.calls[method]++
	before, after := d.before, d.after
	d.mu.Unlock()
	if before != nil {
		if err := before(method); err != nil {
			return nil, wire.StatusFromError(err)
		}
	}
	id := ""
	if r, ok := request.(interface{ GetRequestId() string }); ok {
		id = r.GetRequestId()
	} else if r, ok := request.(interface{ GetHeader() *anyhsmv1.CallHeader }); ok {
		id = r.GetHeader().GetRequestId()
	}
	if changing[method] && len(id) != 32 {
		d.t.Errorf("%s with the request id %q", method, id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[method] = append(d.ids[method], id)
	answer, repeated := d.answers[id]
	if !repeated || id == "" {
		var err error
		if answer, err = handle(ctx, request); err != nil {
			return nil, wire.StatusFromError(err)
		}
		d.answers[id] = answer
	}
	if after != nil {
		d.mu.Unlock()
		err := after(method)
		d.mu.Lock()
		if err != nil {
			return nil, wire.StatusFromError(err)
		}
	}
	return answer, nil
}

// count returns how often a method was called, or all together for "".
func (d *daemon) count(method string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if method != "" {
		return d.calls[method]
	}
	n := 0
	for _, calls := range d.calls {
		n += calls
	}
	return n
}

// hook sets what happens before and after calls.
func (d *daemon) hook(before, after func(method string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before, d.after = before, after
}

// caller checks a header: who is the caller logged in as?
func (d *daemon) caller(h *anyhsmv1.CallHeader) (k *fakeToken, user cryptoki.UserType, in bool, err error) {
	k = d.tokens[h.GetToken()]
	if k == nil {
		return nil, 0, false, fault.New(fault.TokenNotPresent, "no token %q", h.GetToken())
	}
	if len(h.GetTicket()) > 0 {
		if user, in = k.tickets[string(h.GetTicket())]; !in {
			return nil, 0, false, fault.New(fault.UserNotLoggedIn, "the ticket is not valid")
		}
	}
	return k, user, in, nil
}

// private tells whether the caller may see private objects.
func (k *fakeToken) private(user cryptoki.UserType, in bool) bool {
	return k.flags&cryptoki.CKF_LOGIN_REQUIRED == 0 || in && user == cryptoki.CKU_USER
}

func (k *fakeToken) reply() *anyhsmv1.ReplyHeader { return &anyhsmv1.ReplyHeader{Revision: k.revision} }

func (k *fakeToken) message() *anyhsmv1.Token {
	return &anyhsmv1.Token{
		Uid: k.uid, Label: k.label, SerialNumber: "0123456789abcdef", Model: "fake", Flags: uint64(k.flags),
		Revision: k.revision, MinPinLength: 4, MaxPinLength: 255,
	}
}

func (d *daemon) ListSlots(context.Context, *anyhsmv1.ListSlotsRequest) (*anyhsmv1.ListSlotsResponse, error) {
	table := &anyhsmv1.MechanismTable{}
	for _, i := range mechanism.All() {
		table.Mechanisms = append(table.Mechanisms, &anyhsmv1.MechanismInfo{
			Type: uint64(i.Type), MinKeySize: i.MinSize, MaxKeySize: i.MaxSize, Flags: uint64(i.Flags),
		})
	}
	answer := &anyhsmv1.ListSlotsResponse{MechanismTables: []*anyhsmv1.MechanismTable{table}, DaemonVersion: "fake"}
	for _, k := range d.slots {
		answer.Slots = append(answer.Slots, &anyhsmv1.Slot{Id: k.slot, Description: "slot", Token: k.message()})
	}
	return answer, nil
}

func (d *daemon) InitToken(_ context.Context, r *anyhsmv1.InitTokenRequest) (*anyhsmv1.InitTokenResponse, error) {
	for _, k := range d.slots {
		if k.slot != r.GetSlotId() {
			continue
		}
		if k.so != "" && k.so != string(r.GetSoPin()) {
			return nil, fault.New(fault.PINIncorrect, "wrong")
		}
		if k.uid == "" {
			d.add(&fakeToken{slot: k.slot + 1, flags: cryptoki.CKF_RNG})
		}
		k.uid, k.label, k.so, k.user = fmt.Sprintf("uid-%d-%d", k.slot, k.revision), r.GetLabel(), string(r.GetSoPin()), ""
		k.flags = cryptoki.CKF_TOKEN_INITIALIZED | cryptoki.CKF_RNG | cryptoki.CKF_LOGIN_REQUIRED
		k.objects, k.tickets = map[uint64]*fakeObject{}, map[string]cryptoki.UserType{}
		k.revision++
		d.tokens[k.uid] = k
		return &anyhsmv1.InitTokenResponse{Slot: &anyhsmv1.Slot{Id: k.slot, Description: "slot", Token: k.message()}}, nil
	}
	return nil, cryptoki.CKR_SLOT_ID_INVALID
}

func (d *daemon) InitPin(_ context.Context, r *anyhsmv1.InitPinRequest) (*anyhsmv1.InitPinResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	if !in || user != cryptoki.CKU_SO {
		return nil, cryptoki.CKR_USER_NOT_LOGGED_IN
	}
	k.user = string(r.GetPin())
	k.flags |= cryptoki.CKF_USER_PIN_INITIALIZED
	return &anyhsmv1.InitPinResponse{Header: k.reply(), Token: k.message()}, nil
}

func (d *daemon) SetPin(_ context.Context, r *anyhsmv1.SetPinRequest) (*anyhsmv1.SetPinResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	pin := &k.user
	if in && user == cryptoki.CKU_SO {
		pin = &k.so
	}
	if *pin != string(r.GetOldPin()) {
		return nil, cryptoki.CKR_PIN_INCORRECT
	}
	*pin = string(r.GetNewPin())
	answer := &anyhsmv1.SetPinResponse{Header: k.reply(), Token: k.message()}
	if in {
		// The tickets of the old PIN are worthless now.
		clear(k.tickets)
		answer.Header.Ticket = k.issue(user)
	}
	return answer, nil
}

func (k *fakeToken) issue(user cryptoki.UserType) []byte {
	ticket := random(16)
	k.tickets[string(ticket)] = user
	return ticket
}

func (d *daemon) Login(_ context.Context, r *anyhsmv1.LoginRequest) (*anyhsmv1.LoginResponse, error) {
	k, _, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	answer := &anyhsmv1.LoginResponse{Header: k.reply(), LifetimeSeconds: uint64(d.lifetime / time.Second), Token: k.message()}
	user := cryptoki.UserType(r.GetUserType())
	pin := k.user
	if user == cryptoki.CKU_SO {
		pin = k.so
	}
	switch {
	case pin == "":
		return nil, cryptoki.CKR_USER_PIN_NOT_INITIALIZED
	case pin != string(r.GetPin()):
		k.flags |= cryptoki.CKF_USER_PIN_COUNT_LOW
		return nil, cryptoki.CKR_PIN_INCORRECT
	case user == cryptoki.CKU_CONTEXT_SPECIFIC && !in:
		return nil, cryptoki.CKR_USER_NOT_LOGGED_IN
	case user == cryptoki.CKU_CONTEXT_SPECIFIC:
		answer.Ticket = random(16)
		k.context[string(answer.Ticket)] = true
	default:
		answer.Ticket = k.issue(user)
	}
	return answer, nil
}

func (d *daemon) RenewTicket(_ context.Context, r *anyhsmv1.RenewTicketRequest) (*anyhsmv1.RenewTicketResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	if !in {
		return nil, cryptoki.CKR_USER_NOT_LOGGED_IN
	}
	delete(k.tickets, string(r.GetHeader().GetTicket()))
	return &anyhsmv1.RenewTicketResponse{
		Header: k.reply(), Ticket: k.issue(user), LifetimeSeconds: uint64(d.lifetime / time.Second),
	}, nil
}
