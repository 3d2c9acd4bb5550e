package gcpfake

import (
	"context"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Fault is what goes wrong with calls.
type Fault struct {
	// Method is the call that is hit, all if empty; Times how often, and Skip lets so many pass first.
	Method      string
	Times, Skip int
	// Delay comes before anything else.
	Delay time.Duration
	// Code is the answer instead of the work, Message its text and Reason what Google's errors say to programs. Lost
	// does the work first.
	Code            codes.Code
	Message, Reason string
	Lost            bool
	// Forge changes the request before, or the answer after, the work.
	ForgeRequest, Forge func(message any)
}

// Inject adds a fault.
func (k *KMS) Inject(f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = append(k.faults, &f)
}

// Deny takes a permission away from the caller.
func (k *KMS) Deny(permission string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.denied[permission] = true
}

// Heal takes all faults away and gives all permissions back.
func (k *KMS) Heal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults, k.denied = nil, map[string]bool{}
}

// permissions are those of IAM that methods need.
var permissions = map[string][]string{
	"GetKeyRing":              {"cloudkms.keyRings.get"},
	"ListCryptoKeys":          {"cloudkms.cryptoKeys.list"},
	"ListCryptoKeyVersions":   {"cloudkms.cryptoKeyVersions.list"},
	"GetCryptoKey":            {"cloudkms.cryptoKeys.get"},
	"GetCryptoKeyVersion":     {"cloudkms.cryptoKeyVersions.get"},
	"GetPublicKey":            {"cloudkms.cryptoKeyVersions.viewPublicKey"},
	"GetImportJob":            {"cloudkms.importJobs.get"},
	"CreateCryptoKey":         {"cloudkms.cryptoKeys.create"},
	"CreateImportJob":         {"cloudkms.importJobs.create"},
	"ImportCryptoKeyVersion":  {"cloudkms.importJobs.useToImport", "cloudkms.cryptoKeyVersions.create"},
	"DestroyCryptoKeyVersion": {"cloudkms.cryptoKeyVersions.destroy"},
	"AsymmetricSign":          {"cloudkms.cryptoKeyVersions.useToSign"},
	"MacSign":                 {"cloudkms.cryptoKeyVersions.useToSign"},
	"AsymmetricDecrypt":       {"cloudkms.cryptoKeyVersions.useToDecrypt"},
	"RawDecrypt":              {"cloudkms.cryptoKeyVersions.useToDecrypt"},
	"RawEncrypt":              {"cloudkms.cryptoKeyVersions.useToEncrypt"},
	"GenerateRandomBytes":     {"cloudkms.locations.generateRandomBytes"},
}

// meet counts a call and returns what it meets.
func (k *KMS) meet(method string) (met *Fault, denied string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls[method]++
	for _, permission := range permissions[method] {
		if k.denied[permission] {
			return nil, permission
		}
	}
	for _, f := range k.faults {
		if f.Method != "" && f.Method != method || f.Times <= 0 {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Times--
		return f, ""
	}
	return nil, ""
}

func (k *KMS) intercept(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	met, denied := k.meet(method)
	if denied != "" {
		return nil, detailed(codes.PermissionDenied, "Permission '"+denied+"' denied on resource (or it may not exist).", "IAM_PERMISSION_DENIED")
	}
	if met == nil {
		return handle(ctx, in)
	}
	if met.Delay > 0 {
		select {
		case <-time.After(met.Delay):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if met.Code != codes.OK && !met.Lost {
		return nil, detailed(met.Code, met.Message, met.Reason)
	}
	if met.ForgeRequest != nil {
		met.ForgeRequest(in)
	}
	out, err := handle(ctx, in)
	if err == nil && met.Lost {
		return nil, detailed(met.Code, met.Message, met.Reason)
	}
	if err == nil && met.Forge != nil {
		met.Forge(out)
	}
	return out, err
}

func detailed(code codes.Code, message, reason string) error {
	s := status.New(code, message)
	if reason != "" {
		if with, err := s.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "cloudkms.googleapis.com"}); err == nil {
			s = with
		}
	}
	return s.Err()
}
