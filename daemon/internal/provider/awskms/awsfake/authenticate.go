package awsfake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tolerance is how far apart the clocks may be.
const tolerance = 5 * time.Minute

// authenticate checks signature version 4.
func (k *KMS) authenticate(r *http.Request, body []byte) error {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return &refusal{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	fields, ok := strings.CutPrefix(authorization, "AWS4-HMAC-SHA256 ")
	parts := map[string]string{}
	for _, field := range strings.Split(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if !ok || len(scope) != 5 || parts["SignedHeaders"] == "" || parts["Signature"] == "" {
		return refuse("IncompleteSignatureException", "the Authorization header is incomplete")
	}
	if scope[0] != AccessKeyID {
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if r.Header.Get("X-Amz-Security-Token") == "expired" {
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	if scope[2] != k.Region || scope[3] != "kms" || scope[4] != "aws4_request" {
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region, not '%s'.", scope[2])
	}
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", stamp)
	if err != nil || !strings.HasPrefix(stamp, scope[1]) {
		return refuse("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'. Got '%s'.", stamp)
	}
	now := k.now()
	switch {
	case now.Sub(at) > tolerance:
		return refuse("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - 5 min.)",
			stamp, now.Add(-tolerance).Format("20060102T150405Z"), now.Format("20060102T150405Z"))
	case at.Sub(now) > tolerance:
		return refuse("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)",
			stamp, now.Add(tolerance).Format("20060102T150405Z"), now.Format("20060102T150405Z"))
	}
	if !hmac.Equal([]byte(parts["Signature"]), []byte(signatureOf(r, body, stamp, scope, parts["SignedHeaders"]))) {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return nil
}

func signatureOf(r *http.Request, body []byte, stamp string, scope []string, headers string) string {
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n/\n" + r.URL.RawQuery + "\n")
	for _, name := range strings.Split(headers, ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = r.Header.Get("Content-Length")
			if value == "" {
				value = strconv.FormatInt(r.ContentLength, 10)
			}
		}
		canonical.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical.WriteString("\n" + headers + "\n" + digest(body))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + strings.Join(scope[1:], "/") + "\n" + digest([]byte(canonical.String()))
	key := []byte("AWS4" + SecretKey)
	for _, part := range append(scope[1:len(scope):len(scope)], text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
