package command

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// leftView is a key that stays in a provider although its object is gone.
type leftView struct {
	Provider string `json:"provider"`
	Name     string `json:"name"`
	Reason   string `json:"reason"`
}

func viewLeft(left []*anyhsmv1.LeftKey) []leftView {
	views := make([]leftView, 0, len(left))
	for _, l := range left {
		views = append(views, leftView{l.GetProvider(), l.GetName(), l.GetReason()})
	}
	return views
}

// leftTable says what is still there, and why.
func leftTable(w io.Writer, left []leftView) {
	if len(left) == 0 {
		return
	}
	fmt.Fprintln(w, "Left behind, to be destroyed where it is:")
	rows := make([][]string, len(left))
	for i, l := range left {
		rows[i] = []string{clean(l.Provider), clean(l.Name), clean(l.Reason)}
	}
	table(w, []string{"PROVIDER", "KEY", "WHY"}, rows)
}

// leaveFlag adds --leave-behind to a command that deletes.
func leaveFlag(command *cobra.Command, leave *bool) {
	command.Flags().BoolVar(leave, "leave-behind", false, "let keys stay in providers that cannot destroy them now, and name them")
}
