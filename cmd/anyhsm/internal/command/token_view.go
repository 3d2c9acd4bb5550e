package command

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// tokenView is a token as it is printed.
type tokenView struct {
	Label         string     `json:"label"`
	UID           string     `json:"uid"`
	Slot          uint64     `json:"slot"`
	Provider      string     `json:"provider"`
	SerialNumber  string     `json:"serial_number"`
	Model         string     `json:"model"`
	Objects       uint64     `json:"objects"`
	LoginRequired bool       `json:"login_required"`
	UserPINSet    bool       `json:"user_pin_set"`
	UserPINLocked bool       `json:"user_pin_locked"`
	SOPINLocked   bool       `json:"so_pin_locked"`
	Created       *time.Time `json:"created,omitempty"`
}

func viewToken(summary *anyhsmv1.TokenSummary) tokenView {
	token := summary.GetToken()
	has := func(flag cryptoki.Flags) bool { return cryptoki.Flags(token.GetFlags())&flag != 0 }
	return tokenView{
		Label: token.GetLabel(), UID: token.GetUid(), Slot: summary.GetSlotId(), Provider: summary.GetProvider(),
		SerialNumber: token.GetSerialNumber(), Model: token.GetModel(), Objects: summary.GetObjects(),
		LoginRequired: summary.GetLoginRequired(),
		UserPINSet:    has(cryptoki.CKF_USER_PIN_INITIALIZED),
		UserPINLocked: has(cryptoki.CKF_USER_PIN_LOCKED),
		SOPINLocked:   has(cryptoki.CKF_SO_PIN_LOCKED),
		Created:       stamp(summary.GetCreated()),
	}
}

// login says in a word how an application logs in.
func (v tokenView) login() string {
	switch {
	case v.UserPINLocked:
		return "PIN locked"
	case !v.LoginRequired:
		return "not needed"
	case !v.UserPINSet:
		return "no PIN set"
	}
	return "PIN"
}

// uriEscape writes a value for a PKCS#11 URI (RFC 7512).
func uriEscape(value string) string {
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// word quotes a text for a shell where that is necessary.
func word(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,=", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(clean(text), "'", `'\''`) + "'"
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatUint(n, 10) + " " + noun + "s"
}
