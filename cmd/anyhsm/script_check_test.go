package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits runs a program that must end with a code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// jsonIs checks a value of the JSON in stdout (or stderr): json [stderr] PATH VALUE, where PATH is like 0.label, and
// len is the length of a list.
func jsonIs(ts *testscript.TestScript, neg bool, args []string) {
	stream := "stdout"
	if len(args) == 3 {
		stream, args = args[0], args[1:]
	}
	if len(args) != 2 {
		ts.Fatalf("usage: json [stderr] PATH VALUE")
	}
	value := jsonAt(ts, stream, args[0])
	if (value == args[1]) == neg {
		ts.Fatalf("%s is %q, against %q", args[0], value, args[1])
	}
}

// jsonEnv puts a value of the JSON in stdout into the environment: json-env NAME PATH.
func jsonEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: json-env NAME PATH")
	}
	value := jsonAt(ts, "stdout", args[1])
	if value == "" {
		ts.Fatalf("%s is empty", args[1])
	}
	ts.Setenv(args[0], value)
}

func jsonAt(ts *testscript.TestScript, stream, path string) string {
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile(stream)), &value); err != nil {
		ts.Fatalf("%s is no JSON: %v", stream, err)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch in := value.(type) {
		case map[string]any:
			inner, ok := in[step]
			if !ok {
				return "(absent)"
			}
			value = inner
		case []any:
			if step == "len" {
				value = len(in)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(in) {
				ts.Fatalf("%s: no element %q in a list of %d", path, step, len(in))
			}
			value = in[i]
		default:
			ts.Fatalf("%s: nothing below %q", path, step)
		}
	}
	if list, ok := value.([]any); ok {
		words := make([]string, len(list))
		for i, v := range list {
			words[i] = fmt.Sprint(v)
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(value)
}
