package module_test

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// use checks everything that guards a key, as the real daemon does.
func (d *daemon) use(h *anyhsmv1.CallHeader, r *anyhsmv1.KeyReference, message *anyhsmv1.Mechanism, flag cryptoki.Flags) (*fakeToken, *softkey.Key, cryptoki.Mechanism, error) {
	fail := func(err error) (*fakeToken, *softkey.Key, cryptoki.Mechanism, error) {
		return nil, nil, cryptoki.Mechanism{}, err
	}
	k, user, in, err := d.caller(h)
	if err != nil {
		return fail(err)
	}
	o, err := d.named(k, r, k.private(user, in))
	if err != nil {
		return fail(err)
	}
	m, err := wire.MechanismFromProto(message)
	if err != nil {
		return fail(err)
	}
	if err := mechanism.CheckParams(m, flag); err != nil {
		d.t.Errorf("the module did not check the parameters: %v", err)
		return fail(err)
	}
	if err := mechanism.CheckKey(m, flag, o.open); err != nil {
		d.t.Errorf("the module did not check the key: %v", err)
		return fail(err)
	}
	if class, _ := o.open.Class(); class == cryptoki.CKO_PUBLIC_KEY {
		d.t.Error("a public key came to the daemon")
	}
	if o.open.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE) {
		if !k.context[string(h.GetContextTicket())] {
			return fail(fault.New(fault.UserNotLoggedIn, "no context ticket, or it was used"))
		}
		delete(k.context, string(h.GetContextTicket()))
	}
	key, err := o.softkey()
	return k, key, m, err
}

func (d *daemon) Sign(_ context.Context, r *anyhsmv1.SignRequest) (*anyhsmv1.SignResponse, error) {
	k, key, m, err := d.use(r.GetHeader(), r.GetKey(), r.GetMechanism(), cryptoki.CKF_SIGN)
	if err != nil {
		return nil, err
	}
	data := r.GetData()
	if info, _ := mechanism.Lookup(m.Type); info.Hashing() != r.GetHashed() {
		d.t.Errorf("%v with hashed %v", m.Type, r.GetHashed())
	}
	if r.GetHashed() {
		if m, data, err = mechanism.Reduce(m, data); err != nil {
			return nil, err
		}
	}
	signature, err := key.Sign(m, data)
	return &anyhsmv1.SignResponse{Header: k.reply(), Signature: signature}, err
}

func (d *daemon) Verify(_ context.Context, r *anyhsmv1.VerifyRequest) (*anyhsmv1.VerifyResponse, error) {
	k, key, m, err := d.use(r.GetHeader(), r.GetKey(), r.GetMechanism(), cryptoki.CKF_VERIFY)
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.VerifyResponse{Header: k.reply()}, key.Verify(m, r.GetData(), r.GetSignature())
}

// part turns a mechanism into that of a part that goes on.
func (d *daemon) part(m cryptoki.Mechanism, data []byte, more bool) cryptoki.Mechanism {
	if !more {
		return m
	}
	if len(data) == 0 || len(data)%16 != 0 {
		d.t.Errorf("a part of %d bytes", len(data))
	}
	if m.Type == cryptoki.CKM_AES_CBC_PAD {
		m.Type = cryptoki.CKM_AES_CBC
	}
	return m
}

func (d *daemon) Encrypt(_ context.Context, r *anyhsmv1.EncryptRequest) (*anyhsmv1.EncryptResponse, error) {
	k, key, m, err := d.use(r.GetHeader(), r.GetKey(), r.GetMechanism(), cryptoki.CKF_ENCRYPT)
	if err != nil {
		return nil, err
	}
	out, err := key.Encrypt(d.part(m, r.GetData(), r.GetMore()), r.GetData())
	return &anyhsmv1.EncryptResponse{Header: k.reply(), Data: out}, err
}

func (d *daemon) Decrypt(_ context.Context, r *anyhsmv1.DecryptRequest) (*anyhsmv1.DecryptResponse, error) {
	k, key, m, err := d.use(r.GetHeader(), r.GetKey(), r.GetMechanism(), cryptoki.CKF_DECRYPT)
	if err != nil {
		return nil, err
	}
	out, err := key.Decrypt(d.part(m, r.GetData(), r.GetMore()), r.GetData())
	return &anyhsmv1.DecryptResponse{Header: k.reply(), Data: out}, err
}

func (d *daemon) GenerateRandom(_ context.Context, r *anyhsmv1.GenerateRandomRequest) (*anyhsmv1.GenerateRandomResponse, error) {
	k, _, _, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GenerateRandomResponse{Header: k.reply(), Data: random(int(r.GetLength()))}, nil
}

func (d *daemon) SeedRandom(_ context.Context, r *anyhsmv1.SeedRandomRequest) (*anyhsmv1.SeedRandomResponse, error) {
	k, _, _, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SeedRandomResponse{Header: k.reply()}, nil
}
