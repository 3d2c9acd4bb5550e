package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type keyServer struct {
	anyhsmv1.UnimplementedKeyAdminServiceServer
	keys *keyservice.Service
}

// CreateKey generates a key or a key pair.
func (s keyServer) CreateKey(ctx context.Context, request *anyhsmv1.CreateKeyRequest) (*anyhsmv1.CreateKeyResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	key, err := s.keys.CreateKey(ctx, c, keyservice.NewKey{
		Spec: request.GetKeySpec(), Label: request.GetLabel(), ID: request.GetKeyId(),
		Usage: request.GetUsage(), Extractable: request.GetExtractable(), Twin: request.GetTwin(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CreateKeyResponse{Key: keySummary(key)}, nil
}

// ImportKey stores a private key or a secret key.
func (s keyServer) ImportKey(ctx context.Context, request *anyhsmv1.ImportKeyRequest) (*anyhsmv1.ImportKeyResponse, error) {
	defer clear(request.GetPkcs8())
	defer clear(request.GetSecret())
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	key, err := s.keys.ImportKey(ctx, c, keyservice.KeyImport{
		PKCS8: request.GetPkcs8(), Secret: request.GetSecret(), SecretType: request.GetSecretType(),
		Label: request.GetLabel(), ID: request.GetKeyId(), Usage: request.GetUsage(), Extractable: request.GetExtractable(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.ImportKeyResponse{Key: keySummary(key)}, nil
}

// AdoptKeys takes keys that already are in a provider into a token.
func (s keyServer) AdoptKeys(ctx context.Context, request *anyhsmv1.AdoptKeysRequest) (*anyhsmv1.AdoptKeysResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	adopted, known, err := s.keys.AdoptKeys(ctx, c, keyservice.Adoption{
		Provider: request.GetProvider(), References: request.GetReferences(), All: request.GetAll(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.AdoptKeysResponse{Keys: keySummaries(adopted), Known: known}, nil
}

// ListKeys returns the objects of a token, page by page.
func (s keyServer) ListKeys(ctx context.Context, request *anyhsmv1.ListKeysRequest) (*anyhsmv1.ListKeysResponse, error) {
	c, err := call(ctx, request.GetToken(), "")
	if err != nil {
		return nil, err
	}
	var class *cryptoki.ObjectClass
	if n := request.GetObjectClassPlusOne(); n > 0 {
		only := cryptoki.ObjectClass(n - 1)
		class = &only
	}
	keys, next, err := s.keys.ListKeys(ctx, c, class, request.GetPage())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.ListKeysResponse{Keys: keySummaries(keys), NextPage: next}, nil
}

// GetKey returns one object with all attributes that are not secret.
func (s keyServer) GetKey(ctx context.Context, request *anyhsmv1.GetKeyRequest) (*anyhsmv1.GetKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), "")
	if err != nil {
		return nil, err
	}
	keys, err := s.keys.GetKey(ctx, c, request.GetSelector().GetKey())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GetKeyResponse{Objects: keySummaries(keys)}, nil
}

// LabelKey changes label and id of a key's objects.
func (s keyServer) LabelKey(ctx context.Context, request *anyhsmv1.LabelKeyRequest) (*anyhsmv1.LabelKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	keys, err := s.keys.LabelKey(ctx, c, request.GetSelector().GetKey(), request.GetLabel(), request.GetKeyId())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.LabelKeyResponse{Objects: keySummaries(keys)}, nil
}

// DeleteKey destroys a key and its public half.
func (s keyServer) DeleteKey(ctx context.Context, request *anyhsmv1.DeleteKeyRequest) (*anyhsmv1.DeleteKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	deleted, err := s.keys.DeleteKey(ctx, c, request.GetSelector().GetKey(), request.GetLeaveBehind())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.DeleteKeyResponse{Objects: keySummaries(deleted.Keys), Left: leftKeys(deleted.Left)}, nil
}

func leftKeys(left []keyservice.Left) []*anyhsmv1.LeftKey {
	messages := make([]*anyhsmv1.LeftKey, len(left))
	for i, l := range left {
		messages[i] = &anyhsmv1.LeftKey{Provider: l.Provider, Name: text(l.Name), Reason: text(l.Reason)}
	}
	return messages
}

// ImportCertificate stores an X.509 certificate.
func (s keyServer) ImportCertificate(ctx context.Context, request *anyhsmv1.ImportCertificateRequest) (*anyhsmv1.ImportCertificateResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	certificate, err := s.keys.ImportCertificate(ctx, c, keyservice.CertificateImport{
		DER: request.GetCertificate(), Label: request.GetLabel(), ID: request.GetKeyId(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.ImportCertificateResponse{Certificate: keySummary(certificate)}, nil
}

func keySummaries(keys []keyservice.KeySummary) []*anyhsmv1.KeySummary {
	messages := make([]*anyhsmv1.KeySummary, len(keys))
	for i, k := range keys {
		messages[i] = keySummary(k)
	}
	return messages
}

func keySummary(k keyservice.KeySummary) *anyhsmv1.KeySummary {
	return &anyhsmv1.KeySummary{
		Id: k.ID, Uid: k.UID, ObjectClass: uint64(k.Class), KeyType: uint64(k.KeyType), Bits: k.Bits, Curve: k.Curve, ParameterSet: k.ParameterSet,
		Label: text(k.Label), KeyId: k.KeyID, Provider: k.Provider, Created: timestamp(k.Created), Usage: k.Usage,
		Extractable: k.Extractable, Subject: text(k.Subject), PublicKey: k.PublicKey,
		Attributes: wire.AttributesToProto(k.Attributes), Certificate: k.Certificate,
	}
}
