package providertest

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// testCapabilities checks that the table makes sense.
func (s *suite) testCapabilities(t *testing.T) {
	if s.capabilities.Kind == "" {
		t.Error("Kind is empty")
	}
	seen := map[cryptoki.MechanismType]bool{}
	for _, m := range s.capabilities.Mechanisms {
		info, known := mechanism.Lookup(m.Type)
		if !known || info.Hashing() {
			t.Errorf("%s is no raw mechanism that AnyHSM knows", m.Type)
		}
		if seen[m.Type] {
			t.Errorf("%s stands twice", m.Type)
		}
		seen[m.Type] = true
		if m.Flags&operations == 0 {
			t.Errorf("%s is for nothing", m.Type)
		}
		if m.MinSize > m.MaxSize || m.MinSize < info.MinSize || m.MaxSize > info.MaxSize {
			t.Errorf("%s takes sizes %d to %d; AnyHSM has %d to %d", m.Type, m.MinSize, m.MaxSize, info.MinSize, info.MaxSize)
		}
		if hardware := m.Flags&cryptoki.CKF_HW != 0; hardware != s.capabilities.Hardware {
			t.Errorf("%s has CKF_HW %t, the provider %t", m.Type, hardware, s.capabilities.Hardware)
		}
	}
	for _, params := range s.capabilities.Curves {
		if _, err := curve.Parse(params); err != nil {
			t.Errorf("a curve is not one that AnyHSM knows: %x", params)
		}
	}
	_, destroys := s.provider.(provider.Destroyer)
	if s.capabilities.Keeps && !destroys {
		t.Error("the provider keeps keys and cannot destroy them")
	}
}

const operations = cryptoki.CKF_SIGN | cryptoki.CKF_DECRYPT | cryptoki.CKF_ENCRYPT | cryptoki.CKF_DERIVE |
	cryptoki.CKF_GENERATE | cryptoki.CKF_GENERATE_KEY_PAIR

// testClaims goes through all mechanisms and uses: what is claimed must work, all else must be refused.
func (s *suite) testClaims(t *testing.T) {
	for _, info := range mechanism.All() {
		for _, use := range []struct {
			flag cryptoki.Flags
			name string
		}{
			{cryptoki.CKF_SIGN, "sign"},
			{cryptoki.CKF_DECRYPT, "decrypt"},
			{cryptoki.CKF_ENCRYPT, "encrypt"},
			{cryptoki.CKF_DERIVE, "derive"},
			{cryptoki.CKF_GENERATE, "generate"},
			{cryptoki.CKF_GENERATE_KEY_PAIR, "generate pair"},
		} {
			if info.Flags&use.flag == 0 {
				continue
			}
			claimed := s.capabilities.Can(info.Type, use.flag)
			t.Run(info.Type.String()+" "+use.name, func(t *testing.T) {
				if claimed {
					s.proveClaim(t, info, use.flag)
				} else {
					s.proveRefusal(t, info, use.flag)
				}
			})
		}
	}
}

// recipes are the keys that mechanisms are tried with.
func (s *suite) recipes(keyType cryptoki.KeyType) []recipe {
	var all []recipe
	switch keyType {
	case cryptoki.CKK_RSA:
		all = []recipe{rsaRecipe(2048), rsaRecipe(3072)}
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		for _, c := range curve.All() {
			if c.KeyType == keyType {
				all = append(all, curveRecipe(c))
			}
		}
	case cryptoki.CKK_ML_DSA:
		for _, set := range parameterset.All() {
			all = append(all, setRecipe(set))
		}
	case cryptoki.CKK_AES:
		all = []recipe{aesRecipe(16), aesRecipe(24), aesRecipe(32)}
	case cryptoki.CKK_GENERIC_SECRET:
		all = []recipe{secretRecipe(20), secretRecipe(28), secretRecipe(32), secretRecipe(48), secretRecipe(64), secretRecipe(200)}
	}
	var here []recipe
	for _, r := range all {
		if s.can(r) {
			here = append(here, r)
		}
	}
	return here
}

// proveClaim uses a mechanism on each kind of key.
func (s *suite) proveClaim(t *testing.T, info mechanism.Info, use cryptoki.Flags) {
	recipes := s.recipes(info.KeyTypes[0])
	if len(recipes) == 0 {
		t.Fatal("the mechanism is claimed and there is no key that it could be tried with")
	}
	for _, r := range recipes {
		if r = s.to(r, use); use&(cryptoki.CKF_GENERATE|cryptoki.CKF_GENERATE_KEY_PAIR) == 0 {
			r = s.doing(r, info.Type)
		}
		t.Run(r.name, func(t *testing.T) {
			switch {
			case use&(cryptoki.CKF_GENERATE|cryptoki.CKF_GENERATE_KEY_PAIR) != 0:
				s.shared(t, r)
			case info.KeyTypes[0] == cryptoki.CKK_RSA:
				s.proveRSA(t, s.shared(t, r), info.Type, use)
			case info.KeyTypes[0] == cryptoki.CKK_EC:
				s.proveEC(t, s.shared(t, r), info.Type, r.curve)
			case info.KeyTypes[0] == cryptoki.CKK_EC_EDWARDS:
				s.proveEdwards(t, s.shared(t, r))
			case info.KeyTypes[0] == cryptoki.CKK_ML_DSA:
				s.proveLattice(t, s.shared(t, r), r.set)
			case info.KeyTypes[0] == cryptoki.CKK_AES:
				s.proveAES(t, s.secret(t, r), info.Type)
			default:
				s.proveMAC(t, s.secret(t, r), info)
			}
		})
	}
}

// proveRefusal tries a mechanism that is not claimed.
func (s *suite) proveRefusal(t *testing.T, info mechanism.Info, use cryptoki.Flags) {
	m := cryptoki.Mechanism{Type: info.Type}
	if use&(cryptoki.CKF_GENERATE|cryptoki.CKF_GENERATE_KEY_PAIR) != 0 {
		r := recipe{
			name: "refused", mechanism: info.Type, keyType: info.KeyTypes[0], size: 32,
			curve: curve.All()[1],
		}
		request := r.request()
		request.Identity = s.identity()
		_, err := s.provider.Generate(s.ctx(t), request)
		wants(t, err, fault.MechanismInvalid)
		return
	}
	for _, r := range s.recipes(info.KeyTypes[0]) {
		k := s.shared(t, s.to(r, use))
		if !able(k, use) {
			continue // A key without the ability refuses all of it; keyservice says so.
		}
		var err error
		switch use {
		case cryptoki.CKF_SIGN:
			_, err = s.sign(t, k, m, random(32))
		case cryptoki.CKF_DECRYPT:
			_, err = s.decrypt(t, k, m, random(256))
		case cryptoki.CKF_ENCRYPT:
			_, err = s.encrypt(t, k, m, random(32))
		default:
			_, err = s.derive(t, k, m, 0)
		}
		wants(t, err, fault.MechanismInvalid)
	}
}

// able tells whether a key has the ability that a use needs.
func able(k *testKey, use cryptoki.Flags) (ok bool) {
	switch use {
	case cryptoki.CKF_SIGN:
		_, ok = k.Key.(provider.Signer)
	case cryptoki.CKF_DECRYPT:
		_, ok = k.Key.(provider.Decrypter)
	case cryptoki.CKF_ENCRYPT:
		_, ok = k.Key.(provider.Encrypter)
	default:
		_, ok = k.Key.(provider.Deriver)
	}
	return ok
}

// testSizes checks the ends of the key sizes.
func (s *suite) testSizes(t *testing.T) {
	for _, tc := range []struct {
		mechanism cryptoki.MechanismType
		recipe    func(uint64) recipe
		unit      uint64
		slow      bool
	}{
		// A key at the upper end of RSA takes a minute: the lower one tells that sizes are heeded.
		{cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, rsaRecipe, 1, true},
		{cryptoki.CKM_AES_KEY_GEN, aesRecipe, 1, false},
		{cryptoki.CKM_GENERIC_SECRET_KEY_GEN, secretRecipe, 8, false},
	} {
		row, ok := s.capabilities.Mechanism(tc.mechanism)
		if !ok {
			continue
		}
		t.Run(tc.mechanism.String(), func(t *testing.T) {
			least, most := row.MinSize/tc.unit, row.MaxSize/tc.unit
			s.shared(t, tc.recipe(least))
			if !tc.slow {
				s.shared(t, tc.recipe(most))
			}
			wrong := []uint64{0, least - 1, most + 1, most + 8, 1 << 40}
			if row.Sizes != nil {
				wrong = append(wrong, least+1, most-1)
			}
			for _, size := range wrong {
				request := tc.recipe(size).request()
				request.Identity = s.identity()
				_, err := s.provider.Generate(s.ctx(t), request)
				wants(t, err, fault.AttributeValueInvalid, fault.KeySizeRange)
			}
		})
	}
}

// testCurves checks that keys are made on the claimed curves, and on no other.
func (s *suite) testCurves(t *testing.T) {
	for _, c := range curve.All() {
		t.Run(c.Name, func(t *testing.T) {
			r := curveRecipe(c)
			if s.can(r) {
				s.shared(t, r)
				return
			}
			request := r.request()
			request.Identity = s.identity()
			_, err := s.provider.Generate(s.ctx(t), request)
			wants(t, err, fault.CurveNotSupported, fault.MechanismInvalid)
		})
	}
	if !s.capabilities.Can(cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKF_GENERATE_KEY_PAIR) {
		return
	}
	for name, tc := range map[string]struct {
		params []byte
		kind   fault.Kind
	}{
		"an unknown curve":    {[]byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}, fault.CurveNotSupported},
		"explicit parameters": {[]byte{0x30, 0x03, 0x02, 0x01, 0x01}, fault.DomainParamsInvalid},
		"rubbish":             {[]byte{0xff}, fault.DomainParamsInvalid},
		"nothing":             {[]byte{}, fault.DomainParamsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			request := recipe{name: name, mechanism: cryptoki.CKM_EC_KEY_PAIR_GEN, keyType: cryptoki.CKK_EC}.request()
			request.Public = append(request.Public, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, tc.params))
			request.Identity = s.identity()
			_, err := s.provider.Generate(s.ctx(t), request)
			wants(t, err, tc.kind)
		})
	}
}
