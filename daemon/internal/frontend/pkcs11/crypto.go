package pkcs11

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type cryptoServer struct {
	anyhsmv1.UnimplementedCryptoServiceServer
	keys *keyservice.Service
}

// Sign signs or computes a MAC.
func (s cryptoServer) Sign(ctx context.Context, request *anyhsmv1.SignRequest) (*anyhsmv1.SignResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	signature, r, err := s.keys.Sign(ctx, call(ctx, request.GetHeader()), reference(request.GetKey()), m, request.GetData(), request.GetHashed())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SignResponse{Header: reply(r), Signature: signature}, nil
}

// Verify checks a MAC made with a secret key.
func (s cryptoServer) Verify(ctx context.Context, request *anyhsmv1.VerifyRequest) (*anyhsmv1.VerifyResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	r, err := s.keys.Verify(ctx, call(ctx, request.GetHeader()), reference(request.GetKey()), m, request.GetData(), request.GetSignature())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.VerifyResponse{Header: reply(r)}, nil
}

// Encrypt encrypts with a secret key.
func (s cryptoServer) Encrypt(ctx context.Context, request *anyhsmv1.EncryptRequest) (*anyhsmv1.EncryptResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	data, r, err := s.keys.Encrypt(ctx, call(ctx, request.GetHeader()), reference(request.GetKey()), m, request.GetData(), request.GetMore())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.EncryptResponse{Header: reply(r), Data: data}, nil
}

// Decrypt decrypts with a private or secret key.
func (s cryptoServer) Decrypt(ctx context.Context, request *anyhsmv1.DecryptRequest) (*anyhsmv1.DecryptResponse, error) {
	m, err := mechanism(request.GetMechanism())
	if err != nil {
		return nil, err
	}
	data, r, err := s.keys.Decrypt(ctx, call(ctx, request.GetHeader()), reference(request.GetKey()), m, request.GetData(), request.GetMore())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.DecryptResponse{Header: reply(r), Data: data}, nil
}

// GenerateRandom returns random bytes of the token's provider.
func (s cryptoServer) GenerateRandom(ctx context.Context, request *anyhsmv1.GenerateRandomRequest) (*anyhsmv1.GenerateRandomResponse, error) {
	data, r, err := s.keys.GenerateRandom(ctx, call(ctx, request.GetHeader()), int(request.GetLength()))
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GenerateRandomResponse{Header: reply(r), Data: data}, nil
}

// SeedRandom mixes a seed in.
func (s cryptoServer) SeedRandom(ctx context.Context, request *anyhsmv1.SeedRandomRequest) (*anyhsmv1.SeedRandomResponse, error) {
	r, err := s.keys.SeedRandom(ctx, call(ctx, request.GetHeader()), request.GetSeed())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SeedRandomResponse{Header: reply(r)}, nil
}
