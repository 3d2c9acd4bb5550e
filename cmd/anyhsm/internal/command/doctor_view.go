package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/diagnosis"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// doctorView is an examination as it is printed.
type doctorView struct {
	Application string              `json:"application"`
	Identities  []string            `json:"identities"`
	Findings    []diagnosis.Finding `json:"findings"`
	Visible     []visibleView       `json:"visible"`
	Hidden      []hiddenView        `json:"hidden"`
	// Asked tells that the daemon was asked.
	Asked bool `json:"-"`
}

type visibleView struct {
	Token      tokenView `json:"token"`
	Operations []string  `json:"operations"`
	Keys       []keyView `json:"keys"`
	Warnings   []string  `json:"warnings"`
}

type hiddenView struct {
	Token  string `json:"token"`
	Reason string `json:"reason"`
}

// explained takes over what the daemon said about the application.
func (d *doctor) explained(response *anyhsmv1.ExplainViewResponse) {
	d.view.Application, d.view.Identities = response.GetApplication(), response.GetIdentities()
	for _, v := range response.GetVisible() {
		token := viewToken(v.GetToken())
		d.view.Visible = append(d.view.Visible, visibleView{token, list(v.GetOperations()), viewKeys(token.Label, v.GetKeys()), list(v.GetWarnings())})
		for _, warning := range v.GetWarnings() {
			d.add(diagnosis.Finding{Check: "token " + token.Label, Result: diagnosis.Warning, Detail: warning})
		}
	}
	for _, h := range response.GetHidden() {
		d.view.Hidden = append(d.view.Hidden, hiddenView{h.GetLabel(), h.GetReason()})
	}
	if len(d.view.Visible) == 0 {
		d.add(diagnosis.Finding{
			Check: "view", Result: diagnosis.Problem, Detail: "the application sees no token",
			Step: "grant one: anyhsm app grant " + word(orName(d.view.Application)) + " TOKEN",
		})
	}
	if d.user != nil || d.application == "" {
		return
	}
	for _, identity := range d.view.Identities {
		d.setUser(identity)
		if d.user != nil {
			return
		}
	}
	d.add(diagnosis.Finding{
		Check: "identity", Result: diagnosis.Note, Detail: "the application comes with a certificate, so nothing on this host's way was checked",
		Step: "run anyhsm doctor on the application's host, as its user",
	})
}

func orName(name string) string {
	if name == "" {
		return "NAME"
	}
	return name
}

// slots takes over what the module itself would get, for a caller who is no administrator.
func (d *doctor) slots(response *anyhsmv1.ListSlotsResponse) {
	for _, s := range response.GetSlots() {
		if s.GetToken().GetUid() == "" {
			continue
		}
		summary := &anyhsmv1.TokenSummary{
			Token: s.GetToken(), SlotId: s.GetId(),
			LoginRequired: cryptoki.Flags(s.GetToken().GetFlags())&cryptoki.CKF_LOGIN_REQUIRED != 0,
		}
		d.view.Visible = append(d.view.Visible, visibleView{viewToken(summary), []string{}, []keyView{}, []string{}})
	}
	if len(d.view.Visible) == 0 {
		d.add(diagnosis.Finding{
			Check: "view", Result: diagnosis.Problem, Detail: "the module shows no token",
			Step: "ask an administrator for a grant: anyhsm app grant NAME TOKEN",
		})
	}
}

// show prints the examination; problems make the exit code 1.
func (d *doctor) show() error {
	d.view.Identities, d.view.Visible, d.view.Hidden = list(d.view.Identities), list(d.view.Visible), list(d.view.Hidden)
	if err := d.cli.show(d.view, d.people); err != nil {
		return err
	}
	problems := uint64(0)
	for _, f := range d.view.Findings {
		if f.Result == diagnosis.Problem {
			problems++
		}
	}
	if problems > 0 {
		return fmt.Errorf("%s found", count(problems, "problem"))
	}
	return nil
}

func (d *doctor) people(w io.Writer) {
	for _, f := range d.view.Findings {
		fmt.Fprintf(w, "%-8s %s: %s\n", f.Result, clean(f.Check), clean(f.Detail))
		if f.Step != "" {
			fmt.Fprintf(w, "%-8s → %s\n", "", clean(f.Step))
		}
	}
	if d.view.Application != "" || len(d.view.Identities) > 0 {
		fmt.Fprintf(w, "\nApplication %s (%s)\n", clean(orDash(d.view.Application)), clean(strings.Join(d.view.Identities, ", ")))
	}
	if len(d.view.Visible) > 0 {
		fmt.Fprintln(w, "\nThe module shows:")
		var rows [][]string
		for _, v := range d.view.Visible {
			rows = append(rows, []string{
				strconv.FormatUint(v.Token.Slot, 10), v.Token.Label, v.Token.login(), strings.Join(v.Operations, "+"), keyNames(v.Keys),
			})
		}
		table(w, []string{"SLOT", "TOKEN", "LOGIN", "OPERATIONS", "KEYS"}, rows)
	}
	if len(d.view.Hidden) > 0 {
		fmt.Fprintln(w, "\nThe module does not show:")
		var rows [][]string
		for _, h := range d.view.Hidden {
			rows = append(rows, []string{h.Token, h.Reason})
		}
		table(w, []string{"TOKEN", "REASON"}, rows)
	}
}

// keyNames lists keys in a cell.
func keyNames(keys []keyView) string {
	var names []string
	for _, k := range onePerKey(keys) {
		name := k.Label
		if name == "" {
			name = "id:" + short(k.KeyID)
		}
		names = append(names, name+" ("+k.kind()+")")
	}
	return strings.Join(names, ", ")
}
