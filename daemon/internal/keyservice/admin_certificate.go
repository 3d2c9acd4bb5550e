package keyservice

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// ImportCertificate stores an X.509 certificate with the CKA_ID of the key pair that it belongs to: Java and others show
// a private key only where a certificate has its id.
func (s *Service) ImportCertificate(ctx context.Context, call Call, certificate CertificateImport) (made KeySummary, err error) {
	r := begin(call, "certificate.import")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return KeySummary{}, err
	}
	parsed, err := x509.ParseCertificate(certificate.DER)
	if err != nil {
		return KeySummary{}, fault.New(fault.InvalidInput, "this is no X.509 certificate in DER: %w; convert it with openssl x509 -outform DER", err)
	}
	objects, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: a.token.UID})
	if err != nil {
		return KeySummary{}, err
	}
	id, label := matching(objects, parsed)
	if len(certificate.ID) > 0 {
		id = certificate.ID
	}
	if certificate.Label != "" {
		label = certificate.Label
	}
	template, err := certificateAttributes(parsed)
	if err != nil {
		return KeySummary{}, err
	}
	attributes, err := object.New(object.Create, 0, append(template, tokenTemplate(label, id, false)...))
	if err != nil {
		return KeySummary{}, err
	}
	var known []born
	replayed, err := s.replay(ctx, call, r, &known)
	if err != nil {
		return KeySummary{}, err
	}
	if o, ok := stored(objects, parsed.Raw); ok && !replayed {
		return KeySummary{}, fault.New(fault.AlreadyExists, "the token has this certificate already, as object %d; delete that first", o.ID)
	}
	r.event.Detail = parsed.Subject.String()
	born, err := s.bear(ctx, &a, r, nil, draft{role: "certificate", attributes: attributes})
	if err != nil {
		return KeySummary{}, err
	}
	return s.summaryOf(ctx, a, born[0])
}

// certificateAttributes are what follows from a certificate itself.
func certificateAttributes(certificate *x509.Certificate) (cryptoki.Attributes, error) {
	serial, err := asn1.Marshal(certificate.SerialNumber)
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the certificate's serial number cannot be encoded: %w; issue another certificate", err)
	}
	return cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE),
		cryptoki.Ulong(cryptoki.CKA_CERTIFICATE_TYPE, cryptoki.CKC_X_509),
		cryptoki.Bytes(cryptoki.CKA_VALUE, certificate.Raw),
		cryptoki.Bytes(cryptoki.CKA_SUBJECT, certificate.RawSubject),
		cryptoki.Bytes(cryptoki.CKA_ISSUER, certificate.RawIssuer),
		cryptoki.Bytes(cryptoki.CKA_SERIAL_NUMBER, serial),
	}, nil
}

// matching returns CKA_ID and label of the key that a certificate is for; without one the id that such a key will get,
// SHA-1 of its modulus or point, and the subject's common name.
func matching(objects []keystore.Object, certificate *x509.Certificate) (id []byte, label string) {
	for _, class := range []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_PUBLIC_KEY} {
		for _, o := range objects {
			c, _ := o.Attributes.Class()
			if c == class && bytes.Equal(o.Attributes.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO), certificate.RawSubjectPublicKeyInfo) {
				return o.Attributes.Bytes(cryptoki.CKA_ID), string(o.Attributes.Bytes(cryptoki.CKA_LABEL))
			}
		}
	}
	if label = certificate.Subject.CommonName; label == "" {
		label = certificate.Subject.String()
	}
	return defaultID(certificate), label
}

// stored returns the object that holds a certificate.
func stored(objects []keystore.Object, der []byte) (keystore.Object, bool) {
	for _, o := range objects {
		if class, _ := o.Attributes.Class(); class == cryptoki.CKO_CERTIFICATE && bytes.Equal(o.Attributes.Bytes(cryptoki.CKA_VALUE), der) {
			return o, true
		}
	}
	return keystore.Object{}, false
}

// defaultID is the CKA_ID that a key pair gets which is given none.
func defaultID(certificate *x509.Certificate) []byte {
	public, err := publicAttributes(certificate.PublicKey)
	if err == nil {
		public, _ = object.Complete(public, nil, nil)
		if id := public.Bytes(cryptoki.CKA_ID); len(id) > 0 {
			return id
		}
	}
	// A key of a type that this product does not have.
	id := sha1.Sum(certificate.RawSubjectPublicKeyInfo)
	return id[:]
}

// publicAttributes makes the attributes of a public key object.
func publicAttributes(key any) (cryptoki.Attributes, error) {
	attributes, err := softkey.PublicAttributes(key)
	if err != nil {
		return nil, err
	}
	attributes.Set(cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY))
	attributes.Remove(cryptoki.CKA_PUBLIC_KEY_INFO)
	return attributes, nil
}
