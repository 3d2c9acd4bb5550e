package kmiptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
)

// object is a managed object.
type object struct {
	id          string
	kind, state uint32
	format      uint32
	value       []byte
	// attributes are those that the client gave.
	attributes ttlv.Item
	made       time.Time
	link       ttlv.Item
}

// known are the attributes that a client may give.
var known = []ttlv.Tag{
	ttlv.TagName, ttlv.TagCryptographicAlgorithm, ttlv.TagCryptographicLength, ttlv.TagCryptographicUsageMask, ttlv.TagSensitive,
	ttlv.TagExtractable, ttlv.TagCryptographicDomainParameters, ttlv.TagApplicationSpecificInformation,
}

func (o *object) names() (names []string) {
	for _, n := range o.attributes.All(ttlv.TagName) {
		names = append(names, n.Text(ttlv.TagNameValue))
	}
	return names
}

func (o *object) number(tag ttlv.Tag) int64 {
	n, _ := o.attributes.Value(tag, ttlv.IntegerType)
	return n
}

// describe are all attributes.
func (o *object) describe() ttlv.Item {
	all := ttlv.Structure(ttlv.TagAttributes, ttlv.TextString(ttlv.TagUniqueIdentifier, o.id), ttlv.Enumeration(ttlv.TagObjectType, o.kind),
		ttlv.Enumeration(ttlv.TagState, o.state), ttlv.DateTime(ttlv.TagInitialDate, o.made))
	all.Items = append(all.Items, o.attributes.Items...)
	if o.link.Tag != 0 {
		all.Items = append(all.Items, o.link)
	}
	return all
}

// add checks the attributes of a new object and keeps it. The caller holds the lock.
func (s *Server) add(o *object) error {
	for _, a := range o.attributes.Items {
		if !slices.Contains(known, a.Tag) {
			return refuse(ttlv.ReasonInvalidAttribute, "0x%06x is no attribute that a client gives", uint32(a.Tag))
		}
	}
	if _, ok := o.attributes.Value(ttlv.TagCryptographicUsageMask, ttlv.IntegerType); !ok {
		return refuse(ttlv.ReasonInvalidAttribute, "no Cryptographic Usage Mask")
	}
	for _, other := range s.objects {
		for _, n := range other.names() {
			if other.state != ttlv.StateDestroyed && slices.Contains(o.names(), n) {
				return refuse(ttlv.ReasonNonUniqueNameAttribute, "%s is there", n)
			}
		}
	}
	o.id, o.state, o.made = s.identifier(), ttlv.StatePreActive, time.Now()
	s.objects[o.id] = o
	return nil
}

func (s *Server) create(payload ttlv.Item) ([]ttlv.Item, error) {
	o := &object{kind: payload.Enum(ttlv.TagObjectType), format: ttlv.FormatRaw, attributes: payload.In(ttlv.TagAttributes)}
	length := o.number(ttlv.TagCryptographicLength)
	switch {
	case o.kind != ttlv.ObjectSymmetricKey || o.attributes.Enum(ttlv.TagCryptographicAlgorithm) != ttlv.AlgorithmAes:
		return nil, refuse(ttlv.ReasonInvalidField, "only AES keys are created")
	case length != 128 && length != 192 && length != 256:
		return nil, refuse(ttlv.ReasonInvalidField, "%d bits are no AES key", length)
	}
	o.value = make([]byte, length/8)
	_, _ = rand.Read(o.value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.add(o); err != nil {
		return nil, err
	}
	return []ttlv.Item{ttlv.Enumeration(ttlv.TagObjectType, o.kind), ttlv.TextString(ttlv.TagUniqueIdentifier, o.id)}, nil
}

func (s *Server) createPair(payload ttlv.Item) ([]ttlv.Item, error) {
	common := payload.In(ttlv.TagCommonAttributes)
	private := &object{kind: ttlv.ObjectPrivateKey, format: ttlv.FormatPkcs8}
	public := &object{kind: ttlv.ObjectPublicKey, format: ttlv.FormatX509}
	private.attributes = ttlv.Structure(ttlv.TagAttributes, append(slices.Clone(common.Items), payload.In(ttlv.TagPrivateKeyAttributes).Items...)...)
	public.attributes = ttlv.Structure(ttlv.TagAttributes, append(slices.Clone(common.Items), payload.In(ttlv.TagPublicKeyAttributes).Items...)...)
	var key, half any
	switch length := private.number(ttlv.TagCryptographicLength); common.Enum(ttlv.TagCryptographicAlgorithm) {
	case ttlv.AlgorithmRsa:
		if length != 2048 && length != 3072 && length != 4096 {
			return nil, refuse(ttlv.ReasonInvalidField, "no RSA key has %d bits", length)
		}
		made, err := rsa.GenerateKey(rand.Reader, int(length))
		if err != nil {
			return nil, err
		}
		key, half = made, &made.PublicKey
		public.format = ttlv.FormatPkcs1
	case ttlv.AlgorithmEc:
		on, ok := map[uint32]elliptic.Curve{ttlv.CurveP256: elliptic.P256(), ttlv.CurveP384: elliptic.P384(), ttlv.CurveP521: elliptic.P521()}[common.In(ttlv.TagCryptographicDomainParameters).Enum(ttlv.TagRecommendedCurve)]
		if !ok || int64(on.Params().BitSize) != length {
			return nil, refuse(ttlv.ReasonInvalidField, "no curve, or not %d bits", length)
		}
		made, err := ecdsa.GenerateKey(on, rand.Reader)
		if err != nil {
			return nil, err
		}
		key, half = made, &made.PublicKey
	default:
		return nil, refuse(ttlv.ReasonInvalidField, "neither RSA nor EC")
	}
	var err error
	if private.value, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, err
	}
	if made, ok := half.(*rsa.PublicKey); ok {
		public.value = x509.MarshalPKCS1PublicKey(made)
	} else if public.value, err = x509.MarshalPKIXPublicKey(half); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.add(public); err != nil {
		return nil, err
	}
	if err := s.add(private); err != nil {
		delete(s.objects, public.id)
		return nil, err
	}
	private.link = ttlv.Structure(ttlv.TagLink, ttlv.Enumeration(ttlv.TagLinkType, ttlv.PublicKeyLink), ttlv.TextString(ttlv.TagLinkedObjectIdentifier, public.id))
	return []ttlv.Item{ttlv.TextString(ttlv.TagPrivateKeyUniqueIdentifier, private.id), ttlv.TextString(ttlv.TagPublicKeyUniqueIdentifier, public.id)}, nil
}

// objectTags are the items that hold the objects of a type.
var objectTags = map[uint32]ttlv.Tag{
	ttlv.ObjectSymmetricKey: ttlv.TagSymmetricKey, ttlv.ObjectPublicKey: ttlv.TagPublicKey, ttlv.ObjectPrivateKey: ttlv.TagPrivateKey,
}

func (s *Server) register(payload ttlv.Item) ([]ttlv.Item, error) {
	o := &object{kind: payload.Enum(ttlv.TagObjectType), attributes: payload.In(ttlv.TagAttributes)}
	block := payload.In(objectTags[o.kind]).In(ttlv.TagKeyBlock)
	value, ok := block.In(ttlv.TagKeyValue).ByteValue(ttlv.TagKeyMaterial)
	if !ok || len(value) == 0 {
		return nil, refuse(ttlv.ReasonInvalidField, "no key material")
	}
	o.format, o.value = block.Enum(ttlv.TagKeyFormatType), slices.Clone(value)
	// The server's own attributes are those of the key block.
	for _, tag := range []ttlv.Tag{ttlv.TagCryptographicAlgorithm, ttlv.TagCryptographicLength} {
		item, ok := block.Find(tag)
		if !ok {
			return nil, refuse(ttlv.ReasonInvalidField, "the key block does not tell algorithm and length")
		}
		o.attributes.Items = append(slices.Clone(o.attributes.Items), item)
	}
	if length := o.number(ttlv.TagCryptographicLength); o.kind == ttlv.ObjectSymmetricKey && length != int64(8*len(value)) {
		return nil, refuse(ttlv.ReasonInvalidField, "the key has not %d bits", length)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.add(o); err != nil {
		return nil, err
	}
	return []ttlv.Item{ttlv.TextString(ttlv.TagUniqueIdentifier, o.id)}, nil
}

// locate finds objects, the newest first as real servers do.
func (s *Server) locate(payload ttlv.Item) ([]ttlv.Item, error) {
	wanted := payload.In(ttlv.TagAttributes)
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*object
	for _, o := range s.objects {
		match := true
		for _, a := range wanted.Items {
			switch a.Tag {
			case ttlv.TagObjectType:
				match = match && o.kind == uint32(a.Number)
			case ttlv.TagName:
				match = match && slices.Contains(o.names(), a.Text(ttlv.TagNameValue))
			default:
				return nil, refuse(ttlv.ReasonInvalidField, "not searched by 0x%06x", uint32(a.Tag))
			}
		}
		if match {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *object) int {
		if len(a.id) != len(b.id) {
			return len(b.id) - len(a.id)
		}
		return strings.Compare(b.id, a.id)
	})
	if offset, ok := payload.Value(ttlv.TagOffsetItems, ttlv.IntegerType); ok {
		found = found[min(int(offset), len(found)):]
	}
	if most, ok := payload.Value(ttlv.TagMaximumItems, ttlv.IntegerType); ok {
		found = found[:min(int(most), len(found))]
	}
	var items []ttlv.Item
	for _, o := range found {
		items = append(items, ttlv.TextString(ttlv.TagUniqueIdentifier, o.id))
	}
	return items, nil
}
