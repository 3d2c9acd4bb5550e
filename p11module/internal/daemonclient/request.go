package daemonclient

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// nature is what repeating a call does.
type nature int

const (
	// once: nothing is known of the call, so it is made once.
	once nature = iota
	// reads: the call changes nothing.
	reads
	// changes: the call changes something, so it carries a request id by which the daemon knows a repetition.
	changes
)

var natures = map[string]nature{
	anyhsmv1.TokenService_ListSlots_FullMethodName:   reads,
	anyhsmv1.TokenService_RenewTicket_FullMethodName: reads,
	anyhsmv1.TokenService_InitToken_FullMethodName:   changes,
	anyhsmv1.TokenService_InitPin_FullMethodName:     changes,
	anyhsmv1.TokenService_SetPin_FullMethodName:      changes,
	// A wrong PIN costs a try, and a repetition must not cost another.
	anyhsmv1.TokenService_Login_FullMethodName: changes,

	anyhsmv1.ObjectService_ListObjects_FullMethodName:     reads,
	anyhsmv1.ObjectService_GetSecretValue_FullMethodName:  reads,
	anyhsmv1.ObjectService_CreateObject_FullMethodName:    changes,
	anyhsmv1.ObjectService_CopyObject_FullMethodName:      changes,
	anyhsmv1.ObjectService_SetAttributes_FullMethodName:   changes,
	anyhsmv1.ObjectService_DestroyObject_FullMethodName:   changes,
	anyhsmv1.ObjectService_GenerateKey_FullMethodName:     changes,
	anyhsmv1.ObjectService_GenerateKeyPair_FullMethodName: changes,
	anyhsmv1.ObjectService_DeriveKey_FullMethodName:       changes,

	anyhsmv1.CryptoService_Sign_FullMethodName:           reads,
	anyhsmv1.CryptoService_Verify_FullMethodName:         reads,
	anyhsmv1.CryptoService_Encrypt_FullMethodName:        reads,
	anyhsmv1.CryptoService_Decrypt_FullMethodName:        reads,
	anyhsmv1.CryptoService_GenerateRandom_FullMethodName: reads,
	anyhsmv1.CryptoService_SeedRandom_FullMethodName:     changes,
}

// prepare tells what repeating a call does, and gives a changing one its request id, once for all repetitions.
func prepare(method string, request any) (nature, error) {
	kind := natures[method]
	headed, _ := request.(interface{ GetHeader() *anyhsmv1.CallHeader })
	if kind == reads && headed != nil && len(headed.GetHeader().GetContextTicket()) > 0 {
		// A context ticket is good for one use: the use changes something.
		kind = changes
	}
	if kind != changes {
		return kind, nil
	}
	var id *string
	if initToken, ok := request.(*anyhsmv1.InitTokenRequest); ok {
		id = &initToken.RequestId
	} else if headed != nil && headed.GetHeader() != nil {
		id = &headed.GetHeader().RequestId
	}
	if id == nil {
		return once, nil
	}
	if *id == "" {
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return once, fault.New(fault.FunctionFailed, "no random numbers for a request id; check the kernel: %w", err)
		}
		*id = hex.EncodeToString(random)
	}
	return changes, nil
}
