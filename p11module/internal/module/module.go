// Package module is the state of the process between C_Initialize and C_Finalize: slots, tokens and the table of
// sessions.
package module

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
	"github.com/anyhsm/anyhsm/p11module/internal/daemonclient"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// Module is an initialised library.
type Module struct {
	client    *daemonclient.Client
	endpoints []string
	log       *slog.Logger
	output    io.Closer
	slots     slots
	// inherited is what forked children are told.
	inherited string

	mu       sync.RWMutex
	sessions map[uint64]*session.Session
	last     uint64
}

// Open is C_Initialize. It reads the configuration and asks the daemon nothing, so a daemon that is down does not fail
// it. reserved is C_Initialize's pReserved string, which counts if it is ours.
func Open(reserved string) (*Module, error) {
	c, err := config.Load(reserved)
	if err != nil {
		complain("C_Initialize failed: " + err.Error())
		return nil, err
	}
	log, output := openLog(c.Log)
	client, err := daemonclient.New(c, log)
	if err != nil {
		_ = output.Close()
		complain("C_Initialize failed: " + err.Error())
		return nil, err
	}
	log.Info("initialised", "configuration", c.Source, "endpoints", c.Endpoints, "timeout", c.Timeout)
	m := &Module{client: client, endpoints: c.Endpoints, log: log, output: output, inherited: c.Inherited(), sessions: map[uint64]*session.Session{}}
	// A random start: a handle of before C_Finalize or of another process is not taken for a new one.
	m.last = rand.Uint64N(1 << 30)
	m.slots.known = map[uint64]*slot{}
	return m, nil
}

// Close is C_Finalize: sessions, logins, connections and log are closed and nothing runs on.
func (m *Module) Close() {
	m.mu.Lock()
	open := m.sessions
	m.sessions = map[uint64]*session.Session{}
	m.mu.Unlock()
	for _, s := range open {
		_ = s.Token().Close(s)
	}
	m.client.Close()
	m.log.Info("finalised")
	_ = m.output.Close()
}

// OpenSession is C_OpenSession.
func (m *Module) OpenSession(slot uint64, flags cryptoki.Flags) (uint64, error) {
	found, err := m.slot(slot)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	handle := m.nextHandle()
	s, err := found.token.Open(handle, flags)
	if err != nil {
		return 0, err
	}
	m.sessions[handle] = s
	return handle, nil
}

// nextHandle returns a handle that no open session has. Handles stay below 2^31, are never 0, and come back only
// after all others were used.
func (m *Module) nextHandle() uint64 {
	for {
		m.last = m.last%(1<<31-1) + 1
		if m.sessions[m.last] == nil {
			return m.last
		}
	}
}

// CloseSession is C_CloseSession.
func (m *Module) CloseSession(handle uint64) error {
	m.mu.Lock()
	s := m.sessions[handle]
	delete(m.sessions, handle)
	m.mu.Unlock()
	if s == nil {
		return cryptoki.CKR_SESSION_HANDLE_INVALID
	}
	return s.Token().Close(s)
}

// CloseAllSessions is C_CloseAllSessions.
func (m *Module) CloseAllSessions(slot uint64) error {
	found, err := m.slot(slot)
	if err != nil {
		return err
	}
	var closing []*session.Session
	m.mu.Lock()
	for handle, s := range m.sessions {
		if s.Token() == found.token {
			closing = append(closing, s)
			delete(m.sessions, handle)
		}
	}
	m.mu.Unlock()
	for _, s := range closing {
		_ = found.token.Close(s)
	}
	return nil
}

// Session finds a session by its handle: CKR_SESSION_HANDLE_INVALID if there is none.
func (m *Module) Session(handle uint64) (*session.Session, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.sessions[handle]; s != nil {
		return s, nil
	}
	return nil, cryptoki.CKR_SESSION_HANDLE_INVALID
}
