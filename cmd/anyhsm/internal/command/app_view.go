package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// applicationView is an application as it is printed.
type applicationView struct {
	Name       string      `json:"name"`
	Identities []string    `json:"identities"`
	Grants     []grantView `json:"grants"`
	Created    *time.Time  `json:"created,omitempty"`
}

type grantView struct {
	Token      string   `json:"token"`
	Operations []string `json:"operations"`
}

func viewApplication(application *anyhsmv1.Application) applicationView {
	v := applicationView{
		Name: application.GetName(), Identities: list(application.GetIdentities()), Grants: []grantView{},
		Created: stamp(application.GetCreated()),
	}
	for _, g := range application.GetGrants() {
		v.Grants = append(v.Grants, grantView{g.GetToken(), list(g.GetOperations())})
	}
	return v
}

func (v applicationView) grants() string {
	words := make([]string, 0, len(v.Grants))
	for _, g := range v.Grants {
		words = append(words, g.Token+":"+strings.Join(g.Operations, "+"))
	}
	return strings.Join(words, " ")
}

func applicationTable(w io.Writer, views []applicationView) {
	rows := make([][]string, 0, len(views))
	for _, v := range views {
		rows = append(rows, []string{v.Name, strings.Join(v.Identities, " "), v.grants(), local(v.Created)})
	}
	table(w, []string{"APPLICATION", "IDENTITIES", "GRANTS", "CREATED"}, rows)
}

func (c *cli) showApplication(did string, application *anyhsmv1.Application) error {
	v := viewApplication(application)
	return c.show(v, func(w io.Writer) {
		fmt.Fprintf(w, "%s: application %s\n", did, clean(v.Name))
		fields(w, "Identities", orDash(strings.Join(v.Identities, ", ")), "Grants", orDash(v.grants()))
		if len(v.Identities) == 0 {
			fmt.Fprintf(w, "Next: anyhsm app code %s\n", word(v.Name))
		}
	})
}
