// Package kmip is the provider that keeps keys in a server that speaks KMIP, the protocol of key management servers and
// of many HSMs.
//
// A call goes through call: a permit and a connection of the pool (connection.go), one batch item in TTLV (message.go),
// the server's refusal as a fault (errors.go).
package kmip

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Provider is one server.
type Provider struct {
	config       Config
	version      version
	log          *slog.Logger
	pool         *pool
	server       server
	capabilities provider.Capabilities
	known        known
	flights      flights

	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup
}

// New connects to the server and asks it what it can do. What it returns is a provider.RandomSource too where the server
// has random numbers.
func New(ctx context.Context, config Config) (provider.Provider, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	p := &Provider{config: config, version: versions[config.Protocol], log: config.Log, pool: newPool(config)}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.log = p.log.With("provider", config.Name)
	p.life, p.end = context.WithCancel(context.Background())
	if err := p.examine(ctx); err != nil {
		_ = p.Close()
		return nil, p.explain("examine the server", err)
	}
	p.capabilities = p.server.capabilities()
	if p.server.operations[ttlv.OpRngRetrieve] {
		return &withRandom{p}, nil
	}
	return p, nil
}

// Capabilities tells what the server can do.
func (p *Provider) Capabilities() provider.Capabilities { return p.capabilities }

// Close ends all calls and connections.
func (p *Provider) Close() error {
	p.flights.close()
	p.end()
	p.pool.close()
	p.work.Wait()
	return nil
}

// Health asks the server for its versions.
func (p *Provider) Health(ctx context.Context) error {
	_, err := p.call(ctx, ttlv.OpDiscoverVersions)
	return p.explain("reach the server", err)
}

// closed is the error of a provider that is not used any more.
func (p *Provider) closed() error {
	if p.life.Err() == nil {
		return nil
	}
	return errClosed
}

var errClosed = fault.New(fault.DeviceError, "the provider is closed because the daemon stops")

// ready is the check before a call.
func (p *Provider) ready(ctx context.Context, doing string) error {
	if ctx.Err() != nil {
		return interrupted(ctx, doing)
	}
	return p.closed()
}

// once are the operations that must not be done twice. All others are repeated on a new connection when one broke.
var once = map[uint32]bool{ttlv.OpCreate: true, ttlv.OpCreateKeyPair: true, ttlv.OpRegister: true}

// call asks the server for an operation and returns its answer's payload.
func (p *Provider) call(ctx context.Context, operation uint32, payload ...ttlv.Item) (ttlv.Item, error) {
	doing := nameOf(operation) + " at the KMIP server"
	if err := p.ready(ctx, doing); err != nil {
		return ttlv.Item{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	select {
	case p.pool.permits <- struct{}{}:
		defer func() { <-p.pool.permits }()
	case <-ctx.Done():
		return ttlv.Item{}, p.ended(ctx, doing)
	}
	request := ttlv.Marshal(p.config.request(operation, payload))
	defer clear(request)
	for attempt := 0; ; attempt++ {
		message, again, err := p.try(ctx, request)
		if err == nil {
			return p.accept(operation, message, payload)
		}
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			<-ctx.Done() // The connection's deadline is the context's, whose clock may be a moment behind.
		}
		if ctx.Err() != nil {
			return ttlv.Item{}, p.ended(ctx, doing)
		}
		if again && attempt == 0 && !once[operation] {
			p.log.Info("a connection to the KMIP server broke; the call is repeated", "operation", nameOf(operation), "error", err)
			continue
		}
		return ttlv.Item{}, err
	}
}

// ended is the error of a call that was cut off: by its caller, or by Close.
func (p *Provider) ended(ctx context.Context, doing string) error {
	if err := p.closed(); err != nil {
		return err
	}
	return interrupted(ctx, doing)
}

// try makes one attempt. Again tells that a new connection may do better.
func (p *Provider) try(ctx context.Context, request []byte) (message ttlv.Item, again bool, err error) {
	c := p.pool.take()
	if c == nil {
		if c, err = p.pool.dial(ctx); err != nil {
			return message, false, err
		}
	}
	message, err = c.exchange(ctx, request)
	if err == nil {
		p.pool.put(c)
		return message, false, nil
	}
	_ = c.Close()
	p.pool.drop()
	if errors.Is(err, ttlv.ErrTooLarge) {
		return message, false, fault.New(fault.DeviceError, "the KMIP server's answer is refused: %w; see whether `address` names a KMIP server", err)
	}
	hint := "see whether the server runs"
	if alerted(err) {
		hint = "the server does not accept our certificate; let it know the authority of `certificate`, or renew it"
	}
	return message, true, &lost{fault.New(fault.DeviceError, "the KMIP server %s gave no answer: %w; %s", p.config.Address, err, hint)}
}

// accept takes an answer, if it is one to the request.
func (p *Provider) accept(operation uint32, message ttlv.Item, asked []ttlv.Item) (ttlv.Item, error) {
	payload, err := answer(operation, message)
	var m *malformed
	if err == nil && versionOf(message.In(ttlv.TagResponseHeader).In(ttlv.TagProtocolVersion)).major != p.version.major {
		err = &malformed{"the answer has another version of the protocol"}
	}
	if err == nil {
		// An answer about another object must not be taken for one about ours.
		want := ttlv.Structure(ttlv.TagRequestPayload, asked...).Text(ttlv.TagUniqueIdentifier)
		if got := payload.Text(ttlv.TagUniqueIdentifier); want != "" && got != "" && got != want {
			err = &malformed{"the answer is about another key"}
		}
	}
	if errors.As(err, &m) {
		p.pool.drop()
		return ttlv.Item{}, fault.New(fault.DeviceError, "the KMIP server's answer to %s makes no sense: %w; see whether it speaks the configured `protocol`", nameOf(operation), m)
	}
	return payload, err
}

var (
	_ provider.Provider      = (*Provider)(nil)
	_ provider.Importer      = (*Provider)(nil)
	_ provider.Destroyer     = (*Provider)(nil)
	_ provider.Lister        = (*Provider)(nil)
	_ provider.Finder        = (*Provider)(nil)
	_ provider.HealthChecker = (*Provider)(nil)
	_ provider.RandomSource  = (*withRandom)(nil)
)
