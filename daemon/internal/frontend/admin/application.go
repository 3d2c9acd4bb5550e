package admin

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type applicationServer struct {
	anyhsmv1.UnimplementedApplicationServiceServer
	config Config
}

// AddApplication registers an application.
func (s applicationServer) AddApplication(ctx context.Context, request *anyhsmv1.AddApplicationRequest) (*anyhsmv1.AddApplicationResponse, error) {
	caller, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	added, err := s.config.Applications.Add(ctx, caller, request.GetRequestId(), request.GetName(), request.GetIdentities(), request.GetCreateTokens())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.AddApplicationResponse{Application: applicationMessage(added)}, nil
}

// ListApplications returns all applications with identities and grants.
func (s applicationServer) ListApplications(ctx context.Context, _ *anyhsmv1.ListApplicationsRequest) (*anyhsmv1.ListApplicationsResponse, error) {
	if _, err := administrator(ctx); err != nil {
		return nil, err
	}
	applications, err := s.config.Applications.List(ctx)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListApplicationsResponse{}
	for _, a := range applications {
		response.Applications = append(response.Applications, applicationMessage(a))
	}
	return response, nil
}

// GrantToken lets an application use a token.
func (s applicationServer) GrantToken(ctx context.Context, request *anyhsmv1.GrantTokenRequest) (*anyhsmv1.GrantTokenResponse, error) {
	caller, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	granted, err := s.config.Applications.Grant(ctx, caller, request.GetRequestId(), request.GetApplication(),
		request.GetGrant().GetToken(), request.GetGrant().GetOperations())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GrantTokenResponse{Application: applicationMessage(granted)}, nil
}

// RevokeGrant takes a grant, or the whole application, back.
func (s applicationServer) RevokeGrant(ctx context.Context, request *anyhsmv1.RevokeGrantRequest) (*anyhsmv1.RevokeGrantResponse, error) {
	caller, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	revoked, err := s.config.Applications.Revoke(ctx, caller, request.GetRequestId(), request.GetApplication(), request.GetToken())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.RevokeGrantResponse{Application: applicationMessage(revoked)}, nil
}

// CreateEnrollmentCode returns a one-time code for `anyhsm enroll`.
func (s applicationServer) CreateEnrollmentCode(ctx context.Context, request *anyhsmv1.CreateEnrollmentCodeRequest) (*anyhsmv1.CreateEnrollmentCodeResponse, error) {
	caller, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	seconds := request.GetLifetimeSeconds()
	if seconds > uint64(100*365*24*time.Hour/time.Second) {
		return nil, fault.New(fault.InvalidInput, "an enrollment code cannot be valid for %d seconds; choose 60 to 2592000", seconds)
	}
	code, expires, err := s.config.Applications.CreateCode(ctx, caller, request.GetRequestId(), request.GetApplication(), time.Duration(seconds)*time.Second)
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CreateEnrollmentCodeResponse{Code: code, Expires: timestamp(expires), Endpoints: s.config.Endpoints()}, nil
}

// ExplainView returns what an application's module sees, and why it does not see the rest.
func (s applicationServer) ExplainView(ctx context.Context, request *anyhsmv1.ExplainViewRequest) (*anyhsmv1.ExplainViewResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	view, err := s.config.Keys.ExplainView(ctx, c, request.GetApplication())
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ExplainViewResponse{Application: view.Application, Identities: view.Identities}
	for _, v := range view.Visible {
		response.Visible = append(response.Visible, &anyhsmv1.VisibleToken{
			Token: tokenSummary(v.Token), Operations: v.Operations, Keys: keySummaries(v.Keys), Warnings: v.Warnings,
		})
	}
	for _, h := range view.Hidden {
		response.Hidden = append(response.Hidden, &anyhsmv1.HiddenToken{Label: h.Label, Reason: h.Reason})
	}
	return response, nil
}

type enrollmentServer struct {
	anyhsmv1.UnimplementedEnrollmentServiceServer
	applications *application.Service
}

// Enroll signs a certificate request against a one-time code. It needs no administrator: the code is the proof.
func (s enrollmentServer) Enroll(ctx context.Context, request *anyhsmv1.EnrollRequest) (*anyhsmv1.EnrollResponse, error) {
	enrolled, err := s.applications.Enroll(ctx, authn.FromContext(ctx), request.GetCode(), request.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.EnrollResponse{
		CertificateChain: enrolled.Chain, CaCertificate: enrolled.Authority, Application: enrolled.Application,
	}, nil
}

func applicationMessage(a keystore.Application) *anyhsmv1.Application {
	message := &anyhsmv1.Application{Name: a.Name, Identities: a.Identities, Created: timestamp(a.Created)}
	for _, g := range a.Grants {
		message.Grants = append(message.Grants, &anyhsmv1.Grant{Token: g.Token, Operations: g.Operations})
	}
	return message
}
