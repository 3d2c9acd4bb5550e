package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// amazon starts a daemon with a token in the fake AWS KMS.
func amazon(t *testing.T, more string) (*process, *awsfake.KMS) {
	t.Helper()
	fake := awsfake.New()
	service := httptest.NewServer(fake)
	t.Cleanup(service.Close)
	t.Setenv("ANYHSM_TEST_AWS_ID", awsfake.AccessKeyID)
	t.Setenv("ANYHSM_TEST_AWS_SECRET", awsfake.SecretKey)
	p := newProcess(t, fmt.Sprintf(`
[[provider]]
name = "aws"
kind = "awskms"
[provider.awskms]
region = %q
endpoint = %q
access_key_id = "env:ANYHSM_TEST_AWS_ID"
secret_access_key = "env:ANYHSM_TEST_AWS_SECRET"
%s`, awsfake.Region, service.URL, more))
	p.start()
	return p, fake
}

// comparison puts the pages of a comparison together, as the CLI does.
func comparison(t *testing.T, client anyhsmv1.SyncServiceClient, token string, adopt ...string) (all []*anyhsmv1.SyncKey, pages int) {
	t.Helper()
	seen := map[string]bool{}
	request := &anyhsmv1.SyncKeysRequest{Provider: "aws", Token: token, Adopt: adopt}
	for {
		request.RequestId = requestID()
		response, err := client.SyncKeys(within(t, 2*time.Minute), request)
		check(t, err)
		for _, k := range response.GetKeys() {
			seen[string(k.GetKnownId())] = true
		}
		all, pages = append(all, response.GetKeys()...), pages+1
		if request.Page = response.GetNextPage(); request.Page == "" {
			break
		}
	}
	var lost [][]byte
	known := &anyhsmv1.ListKnownKeysRequest{Provider: "aws"}
	for {
		response, err := client.ListKnownKeys(within(t, time.Minute), known)
		check(t, err)
		for _, id := range response.GetKnownIds() {
			if !seen[string(id)] {
				lost = append(lost, id)
			}
		}
		if known.Page = response.GetNextPage(); known.Page == "" {
			break
		}
	}
	response, err := client.InspectKeys(within(t, time.Minute), &anyhsmv1.InspectKeysRequest{Provider: "aws", KnownIds: lost})
	check(t, err)
	return append(all, response.GetKeys()...), pages
}

func states(keys []*anyhsmv1.SyncKey) map[anyhsmv1.SyncState]int {
	count := map[anyhsmv1.SyncState]int{}
	for _, k := range keys {
		count[k.GetState()]++
	}
	return count
}

// TestSync: what becomes of keys in the account is seen, and what matches is adopted, once.
func TestSync(t *testing.T) {
	p, fake := amazon(t, "")
	daemon := p.unix()
	client := anyhsmv1.NewSyncServiceClient(daemon)
	token := createToken(t, daemon, "web", "aws")
	ids := map[string]string{}
	for _, name := range []string{"prod-a", "prod-b", "prod-c", "prod-d", "test-e"} {
		ids[name] = fake.Add("ECC_NIST_P256", "SIGN_VERIFY")
		fake.Name(name, ids[name])
	}
	all, _ := comparison(t, client, "")
	if got := states(all); got[anyhsmv1.SyncState_SYNC_STATE_NEW] != 5 || len(all) != 5 {
		t.Fatalf("%v", got)
	}
	all, _ = comparison(t, client, token, "prod-*")
	if got := states(all); got[anyhsmv1.SyncState_SYNC_STATE_ADOPTED] != 4 || got[anyhsmv1.SyncState_SYNC_STATE_NEW] != 1 {
		t.Fatalf("%v", got)
	}
	all, _ = comparison(t, client, token, "prod-*")
	if got := states(all); got[anyhsmv1.SyncState_SYNC_STATE_KNOWN] != 4 || got[anyhsmv1.SyncState_SYNC_STATE_NEW] != 1 {
		t.Fatalf("%v", got)
	}
	fake.Disable(ids["prod-b"])
	fake.Schedule(ids["prod-c"])
	fake.Remove(ids["prod-d"])
	all, _ = comparison(t, client, "")
	for _, k := range all {
		want := map[string]anyhsmv1.SyncState{
			fake.ARN(ids["prod-a"]): anyhsmv1.SyncState_SYNC_STATE_KNOWN, fake.ARN(ids["prod-b"]): anyhsmv1.SyncState_SYNC_STATE_CHANGED,
			fake.ARN(ids["prod-c"]): anyhsmv1.SyncState_SYNC_STATE_CHANGED, fake.ARN(ids["test-e"]): anyhsmv1.SyncState_SYNC_STATE_NEW,
		}
		if state, listed := want[k.GetReference()]; listed && k.GetState() != state || !listed && k.GetState() != anyhsmv1.SyncState_SYNC_STATE_GONE {
			t.Errorf("%s is %s: %s", k.GetReference(), k.GetState(), k.GetDetail())
		}
	}
	if got := states(all); got[anyhsmv1.SyncState_SYNC_STATE_GONE] != 1 {
		t.Errorf("%v", got)
	}
}

// TestSyncTwentyThousand: an account of that size is listed page by page, through throttling, each key once, and with a
// number of calls that grows with the keys and not faster.
func TestSyncTwentyThousand(t *testing.T) {
	const many, ours = 20_000, 100
	p, fake := amazon(t, "")
	daemon := p.unix()
	token := createToken(t, daemon, "web", "aws")
	for range many - ours {
		fake.Add("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
	}
	for i := range ours {
		fake.Name(fmt.Sprintf("prod-%d", i), fake.Add("HMAC_256", "GENERATE_VERIFY_MAC"))
	}
	fake.Inject(awsfake.Fault{Operation: "DescribeKey", Skip: 1000, Times: 20, Code: "ThrottlingException", Message: "Rate exceeded"})
	client := anyhsmv1.NewSyncServiceClient(daemon)
	all, pages := comparison(t, client, token, "prod-*")
	if got := states(all); got[anyhsmv1.SyncState_SYNC_STATE_ADOPTED] != ours || len(all) != ours {
		t.Errorf("%v", got)
	}
	if pages < many/1000 {
		t.Errorf("%d pages", pages)
	}
	if n := fake.Calls("DescribeKey"); n > many+200 {
		t.Errorf("%d keys cost %d calls", many, n)
	}
	objects, err := anyhsmv1.NewTokenAdminServiceClient(daemon).GetToken(within(t, time.Minute), &anyhsmv1.GetTokenRequest{Token: token})
	check(t, err)
	if n := objects.GetToken().GetObjects(); n != ours {
		t.Errorf("the token has %d objects", n)
	}
}

// TestCosts: keys and their uses are priced by the list that is configured, in the answer and in /metrics.
func TestCosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.toml")
	check(t, os.WriteFile(file, []byte(`date = "2027-01-02"
currency = "EUR"
[[price]]
kind = "awskms"
keys = ["ec:*"]
month = 1.5
calls = 100
`), 0o600))
	metrics := freePort(t)
	p, _ := amazon(t, "")
	p.kill(syscall.SIGTERM)
	text, err := os.ReadFile(p.config)
	check(t, err)
	text = bytes.Replace(text, []byte("[listen]\n"), fmt.Appendf(nil, "prices = %q\n[listen]\nmetrics = %q\n", file, metrics), 1)
	check(t, os.WriteFile(p.config, text, 0o600))
	p.start()
	daemon := p.unix()
	token := createToken(t, daemon, "web", "aws")
	keys := anyhsmv1.NewKeyAdminServiceClient(daemon)
	for _, spec := range []string{"ec:p256", "ec:p384", "rsa:2048"} {
		_, err := keys.CreateKey(within(t, time.Minute), &anyhsmv1.CreateKeyRequest{RequestId: requestID(), Token: token, KeySpec: spec, Label: spec})
		check(t, err)
	}
	ticket := login(t, daemon, token)
	pair, err := generate(within(t, time.Minute), daemon, token, ticket, requestID(), "pair")
	check(t, err)
	for range 3 {
		check(t, sign(within(t, time.Minute), daemon, token, ticket, pair))
	}
	costs, err := anyhsmv1.NewSyncServiceClient(daemon).ListCosts(within(t, time.Minute), &anyhsmv1.ListCostsRequest{})
	check(t, err)
	if costs.GetDate() != "2027-01-02" || costs.GetCurrency() != "EUR" || costs.GetFile() != file {
		t.Errorf("%v", costs)
	}
	for _, c := range costs.GetCosts() {
		if c.GetProvider() == "aws" && (c.GetKeys() != 4 || c.GetMonthly() != 4.5 || c.GetUnpriced() != 1 || c.GetCalls() != 3 || c.GetCallsCost() != 0.03) {
			t.Errorf("%v", c)
		}
	}
	response, err := http.Get("http://" + metrics + "/metrics")
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	for _, want := range []string{
		`anyhsm_provider_keys_cost_monthly{currency="EUR",provider="aws"} 4.5`, `anyhsm_provider_calls_cost_total{currency="EUR",provider="aws"} 0.03`,
		`anyhsm_prices_info{date="2027-01-02"} 1`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
