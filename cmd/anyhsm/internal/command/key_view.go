package command

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// keyView is an object as it is printed.
type keyView struct {
	Token       string          `json:"token"`
	Object      uint64          `json:"object"`
	UID         string          `json:"uid"`
	Class       string          `json:"class"`
	KeyType     string          `json:"key_type,omitempty"`
	Bits        uint32          `json:"bits,omitempty"`
	Curve       string          `json:"curve,omitempty"`
	Set         string          `json:"parameter_set,omitempty"`
	Label       string          `json:"label"`
	KeyID       string          `json:"id"`
	Provider    string          `json:"provider,omitempty"`
	Usage       []string        `json:"usage,omitempty"`
	Extractable bool            `json:"extractable"`
	Subject     string          `json:"subject,omitempty"`
	Created     *time.Time      `json:"created,omitempty"`
	PublicKey   string          `json:"public_key,omitempty"`
	Certificate string          `json:"certificate,omitempty"`
	Attributes  []attributeView `json:"attributes,omitempty"`

	class cryptoki.ObjectClass
}

type attributeView struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

func viewKey(token string, key *anyhsmv1.KeySummary) keyView {
	class := cryptoki.ObjectClass(key.GetObjectClass())
	v := keyView{
		Token: token, Object: key.GetId(), UID: key.GetUid(), Class: class.String(), Bits: key.GetBits(), Curve: key.GetCurve(), Set: key.GetParameterSet(),
		Label: key.GetLabel(), KeyID: hex.EncodeToString(key.GetKeyId()), Provider: key.GetProvider(), Usage: key.GetUsage(),
		Extractable: key.GetExtractable(), Subject: key.GetSubject(), Created: stamp(key.GetCreated()), class: class,
	}
	if v.isKey() {
		v.KeyType = cryptoki.KeyType(key.GetKeyType()).String()
	}
	if der := key.GetPublicKey(); len(der) > 0 {
		v.PublicKey = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	if der := key.GetCertificate(); len(der) > 0 {
		v.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	for _, a := range key.GetAttributes() {
		v.Attributes = append(v.Attributes, attributeView{cryptoki.AttributeType(a.GetType()).String(), hex.EncodeToString(a.GetValue())})
	}
	return v
}

func viewKeys(token string, keys []*anyhsmv1.KeySummary) []keyView {
	views := make([]keyView, 0, len(keys))
	for _, key := range keys {
		views = append(views, viewKey(token, key))
	}
	return views
}

func (v keyView) isKey() bool {
	switch v.class {
	case cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_SECRET_KEY:
		return true
	}
	return false
}

// kind names what it is in few words: "EC P-256", "RSA 2048", "certificate".
func (v keyView) kind() string {
	if !v.isKey() {
		return v.className()
	}
	name := strings.ReplaceAll(strings.TrimPrefix(v.KeyType, "CKK_"), "_", " ")
	switch {
	case v.Set != "":
		return v.Set
	case v.Curve != "":
		return name + " " + v.Curve
	case v.Bits > 0:
		return name + " " + strconv.FormatUint(uint64(v.Bits), 10)
	}
	return name
}

func (v keyView) className() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v.Class, "CKO_"), "_", " "))
}

// uri is the object's PKCS#11 URI (RFC 7512).
func (v keyView) uri() string {
	types := map[cryptoki.ObjectClass]string{
		cryptoki.CKO_PRIVATE_KEY: "private", cryptoki.CKO_PUBLIC_KEY: "public", cryptoki.CKO_SECRET_KEY: "secret-key",
		cryptoki.CKO_CERTIFICATE: "cert", cryptoki.CKO_DATA: "data",
	}
	uri := "pkcs11:token=" + uriEscape(v.Token)
	if v.Label != "" {
		uri += ";object=" + uriEscape(v.Label)
	}
	if id, err := hex.DecodeString(v.KeyID); err == nil && len(id) > 0 && v.Label == "" {
		uri += ";id="
		for _, b := range id {
			uri += fmt.Sprintf("%%%02X", b)
		}
	}
	if t := types[v.class]; t != "" {
		uri += ";type=" + t
	}
	return uri
}

func keyTable(w io.Writer, views []keyView, withToken bool) {
	header := []string{"LABEL", "TYPE", "CLASS", "ID", "USAGE", "PROVIDER", "CREATED"}
	if withToken {
		header = append([]string{"TOKEN"}, header...)
	}
	rows := make([][]string, 0, len(views))
	for _, v := range views {
		row := []string{v.Label, v.kind(), v.className(), short(v.KeyID), strings.Join(v.Usage, ","), v.Provider, local(v.Created)}
		if withToken {
			row = append([]string{v.Token}, row...)
		}
		rows = append(rows, row)
	}
	table(w, header, rows)
}

// short keeps a table narrow: ids are up to 100 bytes long, 20 by default.
func short(id string) string {
	if len(id) > 16 {
		return id[:16] + "…"
	}
	return id
}
