package keyservice

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// keeper is a provider of which only matters whether it keeps keys.
type keeper struct {
	provider.Provider
	keeps bool
}

func (k keeper) Capabilities() provider.Capabilities { return provider.Capabilities{Keeps: k.keeps} }

// The store that could not note a destruction says that nothing was changed. Where the key is gone already that must
// not reach the caller, who would keep an object without a key: the call is to be repeated.
func TestHalfGone(t *testing.T) {
	s := &Service{providers: map[string]*instance{
		"kms": newInstance("kms", keeper{keeps: true}), Software: newInstance(Software, keeper{}),
	}}
	object := func(provider string) keystore.Object {
		return keystore.Object{ID: 7, Provider: provider, Attributes: cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, uint64(cryptoki.CKO_PRIVATE_KEY)),
		}}
	}
	full := fault.New(fault.DeviceMemory, "the disk is full, so nothing was changed")
	for _, test := range []struct {
		name    string
		err     error
		objects []keystore.Object
		want    fault.Kind
	}{
		{"a kept key", full, []keystore.Object{object("kms")}, fault.DeviceError},
		{"a kept key among others", full, []keystore.Object{object(Software), object("kms")}, fault.DeviceError},
		{"a key in the store", full, []keystore.Object{object(Software)}, fault.DeviceMemory},
		{"gone already", fault.New(fault.ObjectHandleInvalid, "no object"), []keystore.Object{object("kms")}, fault.ObjectHandleInvalid},
		{"the database is away", fault.New(fault.DeviceError, "away"), []keystore.Object{object("kms")}, fault.DeviceError},
	} {
		if err := s.halfGone(test.err, test.objects...); !fault.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if !fault.DeviceError.Row().Retry {
		t.Error("a module does not repeat the call")
	}
	if err := s.halfGone(nil, object("kms")); err != nil {
		t.Error(err)
	}
}
