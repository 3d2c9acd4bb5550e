// Command vaultserver is HashiCorp Vault 1.14, the last release under the MPL, for the tests: the real core with storage
// in memory, the transit engine, and the logins token, AppRole, Kubernetes and TLS certificate. It is a module of its own,
// so that Vault's hundreds of dependencies never touch those of AnyHSM. The first line on its standard output tells where
// it is, as JSON; it ends when its standard input does.
package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "unsafe" // for go:linkname

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// plugins are all that this Vault has. Vault's own list would bring every cloud's SDK along.
var plugins = map[consts.PluginType]map[string]logical.Factory{
	consts.PluginTypeSecrets:    {"transit": engine},
	consts.PluginTypeCredential: {"approle": approle.Factory, "cert": cert.Factory, "kubernetes": kubernetes.Factory},
}

// entPaths are Vault's stubs for what its enterprise edition has: paths that the SDK of go.mod refuses, because they do
// not tell whether a thing is there. The tests ask for none of them.
//
//go:linkname entPaths github.com/hashicorp/vault/vault.entPaths
var entPaths func(*vault.SystemBackend) []*framework.Path

// engine is the transit engine as the SDK of go.mod wants it, which is newer than this Vault's own: a path where things are
// created must be able to tell whether they are there.
func engine(ctx context.Context, c *logical.BackendConfig) (logical.Backend, error) {
	b, err := transit.Backend(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, path := range b.Paths {
		if _, creates := path.Operations[logical.CreateOperation]; creates && path.ExistenceCheck == nil {
			path.ExistenceCheck = func(context.Context, *logical.Request, *framework.FieldData) (bool, error) { return true, nil }
		}
	}
	return b, b.Setup(ctx, c)
}

type registry struct{}

func (registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := plugins[kind][name]
	return func() (any, error) { return factory, nil }, ok
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.Get(name, kind)
	return ok
}

func (registry) Keys(kind consts.PluginType) (names []string) {
	for name := range plugins[kind] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	log.SetFlags(0)
	directory := flag.String("directory", "", "where ca.crt is written, the authority of the server's certificate")
	flag.Parse()
	ctx := context.Background()
	entPaths = func(*vault.SystemBackend) []*framework.Path { return nil }
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error})
	storage := must(inmem.NewInmem(nil, logger))
	core := must(vault.NewCore(&vault.CoreConfig{
		Physical: storage, StorageType: "inmem", BuiltinRegistry: registry{}, DisableMlock: true, Logger: logger,
		LogicalBackends: plugins[consts.PluginTypeSecrets], CredentialBackends: plugins[consts.PluginTypeCredential],
	}))
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made := must(core.Initialize(ctx, &vault.InitParams{BarrierConfig: one, RecoveryConfig: one}))
	if unsealed := must(core.Unseal(made.SecretShares[0])); !unsealed {
		log.Fatal("vaultserver: the seal does not open")
	}
	authority, certificate := issue()
	if err := os.WriteFile(filepath.Join(*directory, "ca.crt"), authority, 0o644); err != nil {
		log.Fatal(err)
	}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{
		Handler:   vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go func() { log.Fatal(server.ServeTLS(listener, "", "")) }()
	must(0, json.NewEncoder(os.Stdout).Encode(map[string]string{
		"address": "https://" + strings.Replace(listener.Addr().String(), "127.0.0.1", "localhost", 1),
		"token":   made.RootToken, "unseal": hex.EncodeToString(made.SecretShares[0]),
	}))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatalf("vaultserver: %v", err)
	}
	return value
}
