package azurefake

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// call is what a request asks for.
type call struct {
	operation, name, version string
}

var keyName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

// route reads method and path. The operations have the names that access policies give them.
func (v *Vault) route(r *http.Request) (call, bool) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	for len(parts) < 4 {
		parts = append(parts, "")
	}
	if len(parts) > 4 || parts[0] == "keys" && parts[1] != "" && !keyName.MatchString(parts[1]) {
		return call{}, false
	}
	c := call{name: parts[1], version: parts[2]}
	switch r.Method + " " + parts[0] {
	case "GET keys":
		switch {
		case parts[1] == "":
			c.operation = "list"
		case parts[2] == "versions":
			c.operation, c.version = "versions", ""
		default:
			c.operation = "get"
		}
		return c, parts[3] == ""
	case "PUT keys":
		c.operation = "import"
		return c, parts[2] == ""
	case "PATCH keys":
		c.operation = "update"
		return c, parts[3] == ""
	case "DELETE keys":
		c.operation = "delete"
		return c, parts[2] == ""
	case "POST keys":
		if parts[2] == "create" && parts[3] == "" {
			c.operation, c.version = "create", ""
			return c, true
		}
		c.operation = parts[3]
		return c, c.operation == "sign" || c.operation == "decrypt" || c.operation == "encrypt"
	case "GET deletedkeys":
		c.operation = "getdeleted"
		return c, parts[1] != "" && parts[2] == ""
	case "DELETE deletedkeys":
		c.operation = "purge"
		return c, parts[1] != "" && parts[2] == ""
	case "POST deletedkeys":
		c.operation, c.version = "recover", ""
		return c, parts[2] == "recover"
	case "POST rng":
		c.operation = "random"
		return c, v.options.HSM && parts[1] == ""
	}
	return c, false
}

// do carries a call out.
func (v *Vault) do(r *http.Request, c call) (any, *refusal) {
	switch c.operation {
	case "create", "import":
		return v.make(r, c)
	case "get":
		return v.get(r, c)
	case "update":
		return v.update(r, c)
	case "delete":
		return v.delete(r, c)
	case "list", "versions":
		return v.list(r, c)
	case "getdeleted", "purge", "recover":
		return v.afterlife(r, c)
	case "random":
		return v.random(r)
	}
	return v.use(r, c)
}

// maxBody is what a request may have.
const maxBody = 1 << 20

// body reads a request's JSON. Fields that the service does not know are refused: they are mistakes.
func body(r *http.Request, into any) *refusal {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{http.StatusUnsupportedMediaType, "BadParameter", "", "The content type must be application/json"}
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(text) > maxBody {
		return &refusal{http.StatusRequestEntityTooLarge, "RequestTooLarge", "", "The request body is too large"}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return bad("The request body is invalid: " + err.Error())
	}
	return nil
}

// page cuts a page out of a listing: where it begins and ends, and the link to the next one.
func (v *Vault) page(r *http.Request, total int) (first, last int, next any, wrong *refusal) {
	if token := r.URL.Query().Get("$skiptoken"); token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, "at-"))
		if err != nil || n < 0 || !strings.HasPrefix(token, "at-") {
			return 0, 0, nil, bad("The skip token is invalid")
		}
		first = min(n, total)
	}
	last = min(first+v.options.PageSize, total)
	if last < total {
		next = "https://" + r.Host + r.URL.Path + "?api-version=" + apiVersion + "&$skiptoken=at-" + strconv.Itoa(last)
	}
	return first, last, next, nil
}
