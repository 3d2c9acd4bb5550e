package config

import (
	"net"
	"net/url"
	"regexp"
)

// AWSKMS is the block [provider.awskms] of a provider of this kind. All of it may be left out: then region and
// credentials are those that the AWS SDK finds.
type AWSKMS struct {
	Region   string `toml:"region,omitempty"`
	Endpoint string `toml:"endpoint,omitempty"`
	Profile  string `toml:"profile,omitempty"`
	// RoleARN is a role to assume, ExternalID what its trust policy asks for.
	RoleARN    string `toml:"role_arn,omitempty"`
	ExternalID string `toml:"external_id,omitempty"`
	// AccessKeyID, SecretAccessKey and SessionToken are static credentials, for those who have no better ones.
	AccessKeyID     Secret `toml:"access_key_id,omitempty"`
	SecretAccessKey Secret `toml:"secret_access_key,omitempty"`
	SessionToken    Secret `toml:"session_token,omitempty"`
	// DeletionDays is how long a destroyed key can still be rescued in AWS.
	DeletionDays int `toml:"deletion_days,omitempty"`
}

var (
	awsRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	awsRole   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

func (a AWSKMS) check(name string, wrong func(string, ...any)) {
	if a.Region != "" && !awsRegion.MatchString(a.Region) {
		wrong("%s: awskms.region: %q is no AWS region; write it as eu-central-1", name, a.Region)
	}
	if a.Endpoint != "" && !secureURL(a.Endpoint) {
		wrong("%s: awskms.endpoint: %q is no https URL; write it as https://kms.eu-central-1.amazonaws.com (http only to this machine)", name, a.Endpoint)
	}
	if a.RoleARN != "" && !awsRole.MatchString(a.RoleARN) {
		wrong("%s: awskms.role_arn: %q is no role; write it as arn:aws:iam::111122223333:role/anyhsm", name, a.RoleARN)
	}
	if a.ExternalID != "" && a.RoleARN == "" {
		wrong("%s: awskms.external_id goes with role_arn; add it, or remove external_id", name)
	}
	for _, secret := range []struct {
		key   string
		value Secret
	}{{"access_key_id", a.AccessKeyID}, {"secret_access_key", a.SecretAccessKey}, {"session_token", a.SessionToken}} {
		if secret.value == "" {
			continue
		}
		if err := secret.value.check(); err != nil {
			wrong("%s: awskms.%s: %v", name, secret.key, err)
		}
	}
	switch {
	case (a.AccessKeyID == "") != (a.SecretAccessKey == ""), a.SessionToken != "" && a.AccessKeyID == "":
		wrong("%s: awskms: access_key_id and secret_access_key go together; give both, or neither for the credentials that the AWS SDK finds", name)
	case a.AccessKeyID != "" && a.Profile != "":
		wrong("%s: awskms: both profile and access_key_id are given; keep one", name)
	}
	if a.DeletionDays != 0 && (a.DeletionDays < 7 || a.DeletionDays > 30) {
		wrong("%s: awskms.deletion_days = %d is out of range; AWS KMS takes 7 to 30", name, a.DeletionDays)
	}
}

// secureURL tells whether a URL has TLS, or goes no further than this machine.
func secureURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
