package keyservice

import (
	"slices"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// keyOrder is what a key specification asks for.
type keyOrder struct {
	mechanism cryptoki.MechanismType
	// pair tells that it is a key pair.
	pair bool
	// parameters stand in the public template, or in that of a secret key.
	parameters cryptoki.Attributes
}

// parseSpec reads rsa:BITS, ec:CURVE, ed25519, ml-dsa:SET, aes:BITS and hmac:BITS.
func parseSpec(spec string) (keyOrder, error) {
	kind, detail, _ := strings.Cut(strings.ToLower(strings.TrimSpace(spec)), ":")
	switch kind {
	case "rsa":
		bits, err := parseBits(spec, detail, 1024, 16384)
		return keyOrder{cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, true, cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, bits), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		}}, err
	case "ec":
		if digits, ok := strings.CutPrefix(detail, "p"); ok {
			detail = "P-" + strings.TrimPrefix(digits, "-")
		}
		c, ok := curve.ByName(detail)
		if !ok || c.KeyType != cryptoki.CKK_EC {
			return keyOrder{}, fault.New(fault.InvalidInput, "%q names no curve; choose ec:p224, ec:p256, ec:p384 or ec:p521", spec)
		}
		return onCurve(cryptoki.CKM_EC_KEY_PAIR_GEN, c), nil
	case "ed25519":
		c, _ := curve.ByName("Ed25519")
		return onCurve(cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, c), nil
	case "ml-dsa":
		for _, set := range parameterset.All() {
			if set.Name == "ML-DSA-"+detail {
				return keyOrder{cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, true, cryptoki.Attributes{
					cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, set.Parameter),
				}}, nil
			}
		}
		return keyOrder{}, fault.New(fault.InvalidInput, "%q names no parameter set; choose ml-dsa:44, ml-dsa:65 or ml-dsa:87", spec)
	case "aes":
		bits, err := parseBits(spec, detail, 128, 256)
		return ofLength(cryptoki.CKM_AES_KEY_GEN, bits), err
	case "hmac":
		bits, err := parseBits(spec, detail, 8, 1<<20)
		return ofLength(cryptoki.CKM_GENERIC_SECRET_KEY_GEN, bits), err
	}
	return keyOrder{}, fault.New(fault.InvalidInput, "%q is no kind of key; write rsa:BITS, ec:p256, ed25519, ml-dsa:65, aes:BITS or hmac:BITS", spec)
}

func onCurve(mechanism cryptoki.MechanismType, c *curve.Curve) keyOrder {
	return keyOrder{mechanism, true, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params)}}
}

func ofLength(mechanism cryptoki.MechanismType, bits uint64) keyOrder {
	return keyOrder{mechanism, false, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, bits/8)}}
}

func parseBits(spec, detail string, smallest, largest uint64) (uint64, error) {
	bits, err := strconv.ParseUint(detail, 10, 32)
	if err != nil || bits < smallest || bits > largest || bits%8 != 0 {
		return 0, fault.New(fault.InvalidInput, "%q has no size in bits from %d to %d, a multiple of 8; write for example rsa:3072, aes:256 or hmac:256", spec, smallest, largest)
	}
	return bits, nil
}

// templates makes the templates of a token object; public is for key pairs.
func (o keyOrder) templates(label string, id []byte, usage []string, extractable bool) (public, private cryptoki.Attributes, err error) {
	public = tokenTemplate(label, id, false)
	private = tokenTemplate(label, id, true)
	private = append(private, cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, extractable))
	if err := addUsage(&public, &private, usage, o.pair); err != nil {
		return nil, nil, err
	}
	if o.pair {
		return append(public, o.parameters...), private, nil
	}
	return nil, append(private, o.parameters...), nil
}

func tokenTemplate(label string, id []byte, private bool) cryptoki.Attributes {
	template := cryptoki.Attributes{
		cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, private), cryptoki.String(cryptoki.CKA_LABEL, label),
	}
	if len(id) > 0 {
		template = append(template, cryptoki.Bytes(cryptoki.CKA_ID, id))
	}
	return template
}

// addUsage sets what the key may do, and that it may do nothing else; without names the templates say nothing and the
// key gets what its type is for.
func addUsage(public, private *cryptoki.Attributes, usage []string, pair bool) error {
	if len(usage) == 0 {
		return nil
	}
	for _, name := range usage {
		if _, ok := usageOf[name]; !ok {
			return fault.New(fault.InvalidInput, "%q is no use of a key; choose of sign, verify, encrypt, decrypt, wrap, unwrap and derive", name)
		}
	}
	for _, u := range usages {
		asked := slices.Contains(usage, u.name)
		if !pair {
			private.Set(cryptoki.Bool(usageOf[u.name], asked))
			continue
		}
		// Two names stand for one pair of attributes: sign and verify, decrypt and encrypt.
		if asked || !private.Has(u.private) {
			private.Set(cryptoki.Bool(u.private, asked))
			public.Set(cryptoki.Bool(u.public, asked))
		}
	}
	return nil
}
