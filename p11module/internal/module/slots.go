package module

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/version"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// freshness is how long the daemon's answer about slots and tokens is believed, also that there was none.
	freshness = time.Second
	// firstContact is how long an application that starts waits for a daemon that is not there: it may have died and
	// be starting again. One that has answered before is waited for as long as any call may take.
	firstContact = 5 * time.Second
	// noSocket is how long it waits where there is not even a socket: most likely no daemon is meant to run, and
	// p11-kit loads the module into every program.
	noSocket = time.Second
)

// slot is a slot with its token. All of it but the token's own state is replaced when the daemon tells anew.
type slot struct {
	id          uint64
	description string
	info        *anyhsmv1.Token
	facts       *session.Facts
	token       *session.Token
}

// slots is what the daemon said of slots, tokens and mechanisms, all in one call.
type slots struct {
	mu    sync.Mutex
	known map[uint64]*slot
	order []uint64
	// asked is when the daemon was asked last; zero if that no longer counts.
	asked     time.Time
	reachable bool
	// generation counts what made `asked` worthless, so that an answer from before does not count.
	generation uint64
	flight     chan struct{}
}

// stale makes the next call that needs to know ask again.
func (x *slots) stale() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked = time.Time{}
	x.generation++
}

// refresh asks the daemon unless it did within the last second. One thread asks, others wait for its answer.
func (m *Module) refresh() {
	x := &m.slots
	need := time.Now().Add(-freshness)
	for range 3 {
		x.mu.Lock()
		if x.asked.After(need) {
			x.mu.Unlock()
			return
		}
		if running := x.flight; running != nil {
			x.mu.Unlock()
			<-running
			continue
		}
		done := make(chan struct{})
		x.flight = done
		generation := x.generation
		x.mu.Unlock()

		began := time.Now()
		answer, err := m.listSlots()
		x.mu.Lock()
		x.flight = nil
		x.reachable = err == nil
		if err == nil {
			m.take(answer)
		} else {
			// That nobody answered counts from now on, or a wait would follow each wait.
			began = time.Now()
		}
		if generation == x.generation {
			x.asked = began
		}
		x.mu.Unlock()
		close(done)
		if err == nil && generation == m.generation() {
			return
		}
		if err != nil {
			m.log.Warn("there are no slots: the daemon cannot be asked", "reason", err.Error())
			return
		}
	}
}

func (m *Module) generation() uint64 {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	return m.slots.generation
}

func (m *Module) listSlots() (*anyhsmv1.ListSlotsResponse, error) {
	ctx, cancel := m.client.Call()
	defer cancel()
	if !m.client.Connected() {
		ctx, cancel = context.WithTimeout(ctx, min(m.patience(), m.client.Timeout()))
		defer cancel()
	}
	return m.client.Tokens.ListSlots(ctx, &anyhsmv1.ListSlotsRequest{ModuleVersion: version.Version})
}

// patience is how long the first contact may take.
func (m *Module) patience() time.Duration {
	for _, endpoint := range m.endpoints {
		path, local := strings.CutPrefix(endpoint, "unix://")
		if !local {
			return firstContact
		}
		if _, err := os.Lstat(path); err == nil {
			return firstContact
		}
	}
	return noSocket
}

// take replaces the slots by what the daemon said. Tokens keep their state. The mutex is held.
func (m *Module) take(answer *anyhsmv1.ListSlotsResponse) {
	tables := make([]map[cryptoki.MechanismType]session.Mechanism, len(answer.GetMechanismTables()))
	for i, table := range answer.GetMechanismTables() {
		tables[i] = map[cryptoki.MechanismType]session.Mechanism{}
		for _, row := range table.GetMechanisms() {
			tables[i][cryptoki.MechanismType(row.GetType())] = session.Mechanism{
				MinKeySize: row.GetMinKeySize(), MaxKeySize: row.GetMaxKeySize(), Flags: cryptoki.Flags(row.GetFlags()),
			}
		}
	}
	known := map[uint64]*slot{}
	var order, free []uint64
	for _, s := range answer.GetSlots() {
		var mechanisms map[cryptoki.MechanismType]session.Mechanism
		if i := int(s.GetMechanismTable()); i < len(tables) {
			mechanisms = tables[i]
		}
		found := m.merge(s, mechanisms)
		known[found.id] = found
		// Applications that are not told which slot take the first, which should have a token to work with.
		if found.facts.Flags&cryptoki.CKF_TOKEN_INITIALIZED != 0 {
			order = append(order, found.id)
		} else {
			free = append(free, found.id)
		}
	}
	m.slots.known, m.slots.order = known, append(order, free...)
}

// merge makes a slot of what the daemon says, with the state that its token has. The mutex is held.
func (m *Module) merge(s *anyhsmv1.Slot, mechanisms map[cryptoki.MechanismType]session.Mechanism) *slot {
	info := s.GetToken()
	found := &slot{id: s.GetId(), description: s.GetDescription(), info: info}
	found.facts = &session.Facts{UID: info.GetUid(), Flags: cryptoki.Flags(info.GetFlags()), Mechanisms: mechanisms}
	if old := m.slots.known[found.id]; old != nil {
		found.token = old.token
		found.token.Update(found.facts)
	} else {
		found.token = session.NewToken(m.client, found.id, found.facts, m.slots.stale, m.refresh)
	}
	return found
}

// slot finds a slot: CKR_SLOT_ID_INVALID. One that is known is not asked for again, unless something happened to it, or
// its provider was not there yet.
func (m *Module) slot(id uint64) (*slot, error) {
	m.slots.mu.Lock()
	found, stale := m.slots.known[id], m.slots.asked.IsZero()
	m.slots.mu.Unlock()
	if found != nil && !stale && len(found.facts.Mechanisms) > 0 {
		return found, nil
	}
	m.refresh()
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if found = m.slots.known[id]; found != nil {
		return found, nil
	}
	if !m.slots.reachable {
		return nil, fault.New(fault.DeviceError, "the daemon cannot be reached, so slot %d is not known; the log has the reason", id)
	}
	return nil, cryptoki.CKR_SLOT_ID_INVALID
}

// SlotList is C_GetSlotList. While the daemon is down no token is present.
func (m *Module) SlotList(tokenPresent bool) ([]uint64, error) {
	m.refresh()
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if tokenPresent && !m.slots.reachable {
		return []uint64{}, nil
	}
	return slices.Clone(m.slots.order), nil
}

// WaitForSlotEvent is C_WaitForSlotEvent. Slots come and go without events.
func (m *Module) WaitForSlotEvent(flags cryptoki.Flags) (uint64, error) {
	if flags&cryptoki.CKF_DONT_BLOCK != 0 {
		return 0, cryptoki.CKR_NO_EVENT
	}
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
