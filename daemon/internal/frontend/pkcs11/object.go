package pkcs11

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type objectServer struct {
	anyhsmv1.UnimplementedObjectServiceServer
	keys *keyservice.Service
}

// ListObjects returns all objects that the ticket may see, or what changed since a revision.
func (s objectServer) ListObjects(ctx context.Context, request *anyhsmv1.ListObjectsRequest) (*anyhsmv1.ListObjectsResponse, error) {
	if wanted := request.GetWanted(); wanted != nil && request.GetSinceRevision() == 0 && request.GetPage() == "" {
		found, narrowed, r, err := s.keys.FindObjects(ctx, call(ctx, request.GetHeader()),
			keyservice.Wanted{Label: wanted.Label, ID: wanted.Id, Object: wanted.GetObject()})
		if err != nil || narrowed {
			return &anyhsmv1.ListObjectsResponse{Header: reply(r), Narrowed: narrowed, Objects: objects(found)}, err
		}
	}
	listing, r, err := s.keys.ListObjects(ctx, call(ctx, request.GetHeader()), request.GetSinceRevision(), request.GetPage())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.ListObjectsResponse{
		Header: reply(r), Complete: listing.Complete, Removed: listing.Removed, NextPage: listing.Next, Objects: objects(listing.Objects),
	}, nil
}

func objects(all []keyservice.Object) []*anyhsmv1.Object {
	messages := make([]*anyhsmv1.Object, len(all))
	for i, o := range all {
		messages[i] = object(o)
	}
	return messages
}

// GetSecretValue returns the values of a key that is extractable and not sensitive.
func (s objectServer) GetSecretValue(ctx context.Context, request *anyhsmv1.GetSecretValueRequest) (*anyhsmv1.GetSecretValueResponse, error) {
	secret, r, err := s.keys.GetSecretValue(ctx, call(ctx, request.GetHeader()), reference(request.GetKey()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GetSecretValueResponse{Header: reply(r), Attributes: wire.AttributesToProto(secret)}, nil
}

// CreateObject stores an object from a complete template.
func (s objectServer) CreateObject(ctx context.Context, request *anyhsmv1.CreateObjectRequest) (*anyhsmv1.CreateObjectResponse, error) {
	o, r, err := s.keys.CreateObject(ctx, call(ctx, request.GetHeader()), wire.AttributesFromProto(request.GetTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CreateObjectResponse{Header: reply(r), Object: object(o)}, nil
}

// CopyObject copies with changed attributes.
func (s objectServer) CopyObject(ctx context.Context, request *anyhsmv1.CopyObjectRequest) (*anyhsmv1.CopyObjectResponse, error) {
	o, r, err := s.keys.CopyObject(ctx, call(ctx, request.GetHeader()), reference(request.GetSource()), wire.AttributesFromProto(request.GetTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CopyObjectResponse{Header: reply(r), Object: object(o)}, nil
}

// SetAttributes changes attributes.
func (s objectServer) SetAttributes(ctx context.Context, request *anyhsmv1.SetAttributesRequest) (*anyhsmv1.SetAttributesResponse, error) {
	o, r, err := s.keys.SetAttributes(ctx, call(ctx, request.GetHeader()), reference(request.GetObject()), wire.AttributesFromProto(request.GetTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SetAttributesResponse{Header: reply(r), Object: object(o)}, nil
}

// DestroyObject destroys a token object.
func (s objectServer) DestroyObject(ctx context.Context, request *anyhsmv1.DestroyObjectRequest) (*anyhsmv1.DestroyObjectResponse, error) {
	r, err := s.keys.DestroyObject(ctx, call(ctx, request.GetHeader()), request.GetObject())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.DestroyObjectResponse{Header: reply(r)}, nil
}

// GenerateKey makes a secret key.
func (s objectServer) GenerateKey(ctx context.Context, request *anyhsmv1.GenerateKeyRequest) (*anyhsmv1.GenerateKeyResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	o, r, err := s.keys.GenerateKey(ctx, call(ctx, request.GetHeader()), m, wire.AttributesFromProto(request.GetTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GenerateKeyResponse{Header: reply(r), Key: object(o)}, nil
}

// GenerateKeyPair makes a key pair.
func (s objectServer) GenerateKeyPair(ctx context.Context, request *anyhsmv1.GenerateKeyPairRequest) (*anyhsmv1.GenerateKeyPairResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	public, private, r, err := s.keys.GenerateKeyPair(ctx, call(ctx, request.GetHeader()), m,
		wire.AttributesFromProto(request.GetPublicTemplate()), wire.AttributesFromProto(request.GetPrivateTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GenerateKeyPairResponse{Header: reply(r), PublicKey: object(public), PrivateKey: object(private)}, nil
}

// DeriveKey derives a secret key.
func (s objectServer) DeriveKey(ctx context.Context, request *anyhsmv1.DeriveKeyRequest) (*anyhsmv1.DeriveKeyResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	o, r, err := s.keys.DeriveKey(ctx, call(ctx, request.GetHeader()), m, reference(request.GetBaseKey()), wire.AttributesFromProto(request.GetTemplate()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.DeriveKeyResponse{Header: reply(r), Key: object(o)}, nil
}
