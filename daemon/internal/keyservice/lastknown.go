package keyservice

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
)

// A provider says what it can do when it is open. Java reads a token's mechanisms once, when it starts, and registers
// nothing if there are none: so the store keeps what each provider could do when it was last open, for a daemon that starts
// while it is away. It is about names in the configuration and holds no secret.

// metaCapabilities is the prefix of what the store keeps of a provider.
const metaCapabilities = "capabilities "

// noteCapabilities keeps what a provider can do, if the store has something else.
func (s *Service) noteCapabilities(ctx context.Context, b *backend) {
	if _, late := s.providers[b.name].source.(provider.Pending); !late && b.capabilities.Kind == Software {
		return // it is always there
	}
	encoded, err := json.Marshal(b.capabilities)
	if err == nil {
		var known []byte
		if known, err = s.store.Meta(ctx, metaCapabilities+b.name); err == nil && !bytes.Equal(known, encoded) {
			err = s.store.SetMeta(ctx, metaCapabilities+b.name, encoded)
		}
	}
	if err != nil {
		s.log.WarnContext(ctx, "what the provider can do could not be kept for a start without it", "provider", b.name, "error", err)
	}
}

// lastTable returns what a token of a provider could do when that was last open; nil if nobody knows, or if the name is
// another kind of provider's now.
func (s *Service) lastTable(ctx context.Context, name string) []Mechanism {
	i, configured := s.providers[name]
	if !configured {
		return nil
	}
	encoded, err := s.store.Meta(ctx, metaCapabilities+name)
	if err != nil || encoded == nil {
		return nil
	}
	var last provider.Capabilities
	if json.Unmarshal(encoded, &last) != nil || last.Kind != i.source.Capabilities().Kind {
		return nil
	}
	return tableOf(last)
}
