// Package admin is the front end of administration: it decodes calls of proto/anyhsm/v1/admin.proto, hands them to
// the services below and encodes the answers. Every call but Enroll needs an administrator.
package admin

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// Config is what the front end stands on.
type Config struct {
	Keys         *keyservice.Service
	Applications *application.Service
	Store        *keystore.Store
	// Authenticator checks the audit's head; seal.Root is one.
	Authenticator audit.Authenticator
	// Endpoints returns where applications reach the daemon, Listeners where it listens.
	Endpoints, Listeners func() []string
	// StoreName and ConfigFile are for people.
	StoreName, ConfigFile string
	Started               time.Time
	// Draining is closed when the daemon begins to end; nil if it never does.
	Draining <-chan struct{}
}

// Register registers the services of administration.
func Register(registrar grpc.ServiceRegistrar, config Config) {
	anyhsmv1.RegisterStatusServiceServer(registrar, statusServer{config: config})
	anyhsmv1.RegisterTokenAdminServiceServer(registrar, tokenServer{keys: config.Keys})
	anyhsmv1.RegisterKeyAdminServiceServer(registrar, keyServer{keys: config.Keys})
	anyhsmv1.RegisterPlacementServiceServer(registrar, placementServer{keys: config.Keys})
	anyhsmv1.RegisterApplicationServiceServer(registrar, applicationServer{config: config})
	anyhsmv1.RegisterEnrollmentServiceServer(registrar, enrollmentServer{applications: config.Applications})
	anyhsmv1.RegisterProviderServiceServer(registrar, providerServer{keys: config.Keys})
	anyhsmv1.RegisterSyncServiceServer(registrar, syncServer{keys: config.Keys})
	anyhsmv1.RegisterAuditServiceServer(registrar, auditServer{config: config})
	anyhsmv1.RegisterRouteServiceServer(registrar, routeServer{keys: config.Keys})
}

// administrator returns the caller if it is one.
func administrator(ctx context.Context) (authn.Caller, error) {
	caller := authn.FromContext(ctx)
	if !caller.Admin {
		return authn.Caller{}, fault.New(fault.NotGranted, "%s is no administrator; call as root, or add the identity to admins in anyhsmd.toml", caller)
	}
	return caller, nil
}

// call makes keyservice's call of an administrator's request.
func call(ctx context.Context, token, requestID string) (keyservice.Call, error) {
	caller, err := administrator(ctx)
	return keyservice.Call{Caller: caller, Token: token, RequestID: requestID}, err
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// text makes a string that protobuf takes: labels come from applications and HSMs, and need not be UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
