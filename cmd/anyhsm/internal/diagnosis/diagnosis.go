// Package diagnosis checks what lies between an application and the daemon on this host: the module's file and the way
// to the socket. Each check is a finding with the cause and the next step.
package diagnosis

// Result is how a check went.
type Result string

// The results. Only a Problem keeps the application from its keys.
const (
	OK      Result = "ok"
	Note    Result = "note"
	Warning Result = "warning"
	Problem Result = "problem"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Detail string `json:"detail"`
	// Step is what to do about it.
	Step string `json:"step,omitempty"`
}
