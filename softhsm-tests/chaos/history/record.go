// Package history is the append-only record of what applications asked for and were answered while faults were
// injected, and the independent judge that compares it with what is there at the end.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Phase is the beginning or the end of an operation.
type Phase string

// The phases. An operation that never ended counts as Unknown: its application was killed.
const (
	Invoke Phase = "invoke"
	OK     Phase = "ok"
	// Fail: it was refused, and Error says how.
	Fail Phase = "fail"
	// Unknown: it failed, and whether it took effect is not known.
	Unknown Phase = "unknown"
)

// Kind is what was done.
type Kind string

// The kinds of operations.
const (
	Generate  Kind = "generate"  // a key pair
	Create    Kind = "create"    // a data object
	Modify    Kind = "modify"    // the value of a data object
	Destroy   Kind = "destroy"   // either
	Read      Kind = "read"      // search by name and read
	Sign      Kind = "sign"      // and verify with the public key outside of the module
	Verify    Kind = "verify"    // by C_Verify
	Handshake Kind = "handshake" // a TLS handshake with a server whose key is in the token
)

// Record is one line of a history. An operation is the Invoke and the end that have the same Process and ID.
type Record struct {
	Process string    `json:"p"`
	ID      int       `json:"id"`
	Phase   Phase     `json:"phase"`
	Time    time.Time `json:"t"`
	Kind    Kind      `json:"op,omitempty"`
	// Token and Name say of which object; names are never used twice.
	Token string `json:"token,omitempty"`
	Name  string `json:"name,omitempty"`
	// Value is what is written or was read: a data object's value, or the public key in hexadecimal.
	Value string `json:"value,omitempty"`
	// UID is the object's CKA_UNIQUE_ID, for keys the private one's.
	UID string `json:"uid,omitempty"`
	// Count is how many objects a Read found.
	Count int    `json:"count,omitempty"`
	Error string `json:"error,omitempty"`
}

// Log writes one process's records, each with one write, so that a kill cuts off at most the last line.
type Log struct {
	process string
	mu      sync.Mutex
	file    *os.File
	next    int
}

// Open begins or continues the log of a process in a directory.
func Open(directory, process string) (*Log, error) {
	file, err := os.OpenFile(filepath.Join(directory, process+".jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Log{process: process, file: file}, nil
}

// Begin notes that an operation begins.
func (l *Log) Begin(r Record) (Operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	r.Process, r.ID, r.Phase, r.Time = l.process, l.next, Invoke, time.Now()
	return Operation{log: l, id: r.ID}, l.write(r)
}

// Operation is one that has begun.
type Operation struct {
	log *Log
	id  int
}

// End notes how it ended; only what was learnt needs to be in r.
func (o Operation) End(r Record) error {
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	r.Process, r.ID, r.Time = o.log.process, o.id, time.Now()
	return o.log.write(r)
}

func (l *Log) write(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(line, '\n'))
	return err
}

// Close closes the log.
func (l *Log) Close() error { return l.file.Close() }

// Load reads all logs of a directory. A last line that was cut off is left out.
func Load(directory string) ([]Record, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		broken := ""
		for lines.Scan() {
			if broken != "" {
				_ = file.Close()
				return nil, fmt.Errorf("%s has a broken line that is not its last: %s", path, broken)
			}
			var r Record
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				broken = lines.Text()
				continue
			}
			records = append(records, r)
		}
		_ = file.Close()
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return records, nil
}
