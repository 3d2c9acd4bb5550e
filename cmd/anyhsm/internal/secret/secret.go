// Package secret reads PINs and codes from where they are safe: a file, the environment, standard input or the
// terminal. Never from the command line, where every process of the machine can read them.
package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
)

// Forms describes the references for help texts and errors.
const Forms = "file:PATH, env:NAME, - (standard input) or prompt"

const largest = 64 << 10

// Reference says where a secret is.
type Reference struct {
	kind  kind
	where string
}

type kind int

const (
	none kind = iota
	file
	environment
	input
	prompt
)

// Parse reads a reference. It does not repeat a text that it does not understand: that may be the secret itself.
func Parse(text string) (Reference, error) {
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case text == "":
		return Reference{}, nil
	case text == "-":
		return Reference{kind: input}, nil
	case text == "prompt":
		return Reference{kind: prompt}, nil
	case found && scheme == "file" && rest != "":
		return Reference{file, rest}, nil
	case found && scheme == "env" && rest != "":
		return Reference{environment, rest}, nil
	}
	return Reference{}, errors.New("a secret does not belong on the command line; give " + Forms)
}

// Given tells whether the reference names a place.
func (r Reference) Given() bool { return r.kind != none }

// UsesInput tells whether the secret is read from standard input.
func (r Reference) UsesInput() bool { return r.kind == input }

// Read fetches the secret; what says whose it is, for the question and for errors. New secrets are asked for twice.
func (r Reference) Read(ctx context.Context, stdin io.Reader, what string, isNew bool) ([]byte, error) {
	value, err := r.fetch(ctx, stdin, what, isNew)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(value) == 0 {
		return nil, fmt.Errorf("%s: %s is empty", what, r)
	}
	return value, nil
}

// String names the place.
func (r Reference) String() string {
	switch r.kind {
	case file:
		return "file " + r.where
	case environment:
		return "environment variable " + r.where
	case input:
		return "standard input"
	case prompt:
		return "the answer"
	}
	return "nothing"
}

func (r Reference) fetch(ctx context.Context, stdin io.Reader, what string, isNew bool) ([]byte, error) {
	switch r.kind {
	case file:
		f, err := os.Open(r.where)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return line(f)
	case environment:
		value, ok := os.LookupEnv(r.where)
		if !ok {
			return nil, fmt.Errorf("environment variable %s is not set", r.where)
		}
		return []byte(value), nil
	case input:
		return line(stdin)
	case prompt:
		if isNew {
			return terminal.AskNewSecret(ctx, what)
		}
		return terminal.AskSecret(ctx, what)
	}
	return nil, errors.New("not given; give " + Forms)
}

// line takes one line, byte by byte, so that a file written by an editor or by echo works and two secrets can come
// from standard input, one a line.
func line(r io.Reader) ([]byte, error) {
	value := make([]byte, 0, 64)
	one := make([]byte, 1)
	for len(value) < largest {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			break
		}
		value = append(value, one[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return bytes.TrimSuffix(value, []byte("\r")), nil
}
