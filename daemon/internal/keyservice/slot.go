package keyservice

import (
	"context"
	"fmt"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/pin"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// model is CK_TOKEN_INFO's. The provider behind a token is not the application's business and may change.
const model = "AnyHSM"

// ListSlots returns the slots that the caller may see, ascending, and the free slot if it may make a token there.
func (s *Service) ListSlots(ctx context.Context, call Call, moduleVersion string) (Slots, error) {
	var slots Slots
	tables := map[string]int{}
	add := func(slot Slot, providers []string) {
		key := strings.Join(providers, " ")
		index, ok := tables[key]
		if !ok {
			index = len(slots.Tables)
			tables[key] = index
			slots.Tables = append(slots.Tables, s.tableFor(ctx, providers))
		}
		slot.Table = index
		slots.Slots = append(slots.Slots, slot)
	}
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return Slots{}, settle(err)
	}
	for _, t := range tokens {
		if s.policy.Visible(call.Caller, t.UID) {
			add(s.slot(t), possible(t))
		}
	}
	refusal := s.policy.AllowCreateToken(call.Caller)
	if refusal == nil {
		free, err := s.store.FreeSlot(ctx)
		if err != nil {
			return Slots{}, settle(err)
		}
		add(freeSlot(free), []string{s.config.DefaultProvider})
	} else if len(slots.Slots) == 0 {
		s.log.DebugContext(ctx, "a caller sees no slot", "caller", call.Caller.String(), "module", moduleVersion, "reason", refusal)
	}
	return slots, nil
}

// tableFor returns the mechanisms that a token shows whose keys can be in these providers. A provider that is away has
// those that it had when it was last open. A token none of whose providers is known keeps its slot, so that numbers stay
// the same, and shows no mechanisms: the module asks again when it needs one.
func (s *Service) tableFor(ctx context.Context, providers []string) []Mechanism {
	var tables [][]Mechanism
	for _, name := range providers {
		if b, err := s.backend(name); err == nil {
			b.noted.Do(func() { s.noteCapabilities(ctx, b) })
			tables = append(tables, b.table)
		} else if table := s.lastTable(ctx, name); table != nil {
			tables = append(tables, table)
		}
	}
	if len(tables) == 1 {
		return tables[0]
	}
	return union(tables)
}

func (s *Service) slot(t keystore.Token) Slot {
	return Slot{ID: t.ID, Description: description(t.ID), Token: s.token(t)}
}

func freeSlot(id uint64) Slot {
	return Slot{ID: id, Description: description(id), Token: Token{
		Model: model, Flags: cryptoki.CKF_RNG | cryptoki.CKF_LOGIN_REQUIRED, MinPIN: pin.MinLength, MaxPIN: pin.MaxLength,
	}}
}

// description never changes, whatever becomes of the token.
func description(id uint64) string { return fmt.Sprintf("AnyHSM slot %d", id) }

// token returns what CK_TOKEN_INFO needs.
func (s *Service) token(t keystore.Token) Token {
	flags := cryptoki.CKF_RNG | cryptoki.CKF_TOKEN_INITIALIZED
	if !t.NoLogin {
		flags |= cryptoki.CKF_LOGIN_REQUIRED
	}
	if t.User.Hash != "" {
		flags |= cryptoki.CKF_USER_PIN_INITIALIZED
	}
	flags |= s.pinFlags(t.User, cryptoki.CKF_USER_PIN_COUNT_LOW, cryptoki.CKF_USER_PIN_FINAL_TRY, cryptoki.CKF_USER_PIN_LOCKED)
	flags |= s.pinFlags(t.SO, cryptoki.CKF_SO_PIN_COUNT_LOW, cryptoki.CKF_SO_PIN_FINAL_TRY, cryptoki.CKF_SO_PIN_LOCKED)
	return Token{
		UID: t.UID, Label: t.Label, Serial: t.Serial, Model: model, Flags: flags, Revision: t.Revision,
		MinPIN: pin.MinLength, MaxPIN: pin.MaxLength,
	}
}

// pinFlags tells how near a PIN is to being locked.
func (s *Service) pinFlags(p keystore.PIN, low, final, locked cryptoki.Flags) cryptoki.Flags {
	left := s.config.MaxFailed - p.Failed
	switch {
	case p.Hash == "" || p.Failed == 0:
		return 0
	case left <= 0:
		return locked
	case left == 1:
		return low | final
	}
	return low
}
