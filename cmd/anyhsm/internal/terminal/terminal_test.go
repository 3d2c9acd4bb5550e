package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair opens a pseudo-terminal: what a person sees and types, and what the program reads and writes.
func pair(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

func read(t *testing.T, from *os.File) string {
	t.Helper()
	b := make([]byte, 1024)
	n, err := from.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestSilence types a secret and looks at what the terminal shows of it.
func TestSilence(t *testing.T) {
	person, program := pair(t)
	restore, err := silence(program)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := ask(context.Background(), program, "PIN", true)
		answers <- answer{line, err}
	}()
	if shown := read(t, person); shown != "PIN: " {
		t.Fatalf("the question is %q", shown)
	}
	if _, err := person.WriteString("geheim\n"); err != nil {
		t.Fatal(err)
	}
	got := <-answers
	if got.err != nil || string(got.line) != "geheim" {
		t.Fatalf("%q, %v", got.line, got.err)
	}
	restore()
	if _, err := person.WriteString("seen\n"); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(shown.String(), "seen") && time.Now().Before(deadline); {
		shown.WriteString(read(t, person))
	}
	if strings.Contains(shown.String(), "geheim") || !strings.Contains(shown.String(), "seen") {
		t.Errorf("the terminal shows %q", shown.String())
	}
}

func TestInterruptedQuestion(t *testing.T) {
	_, program := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ask(ctx, program, "PIN", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestReadLine(t *testing.T) {
	for text, want := range map[string]string{"a\nb": "a", "a\r\n": "a", "a": "a", "\n": ""} {
		if got, err := readLine(strings.NewReader(text)); err != nil || string(got) != want {
			t.Errorf("%q gives %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", strings.Repeat("x", longestLine+1)} {
		if _, err := readLine(strings.NewReader(text)); err == nil {
			t.Errorf("%d bytes without a line are read", len(text))
		}
	}
}

func TestProgress(t *testing.T) {
	var none bytes.Buffer
	Progress(&none, "Working")()
	if none.Len() > 0 {
		t.Errorf("progress goes to what is no terminal: %q", none.String())
	}
	person, program := pair(t)
	done := Progress(program, "Working")
	if shown := read(t, person); !strings.Contains(shown, "Working … 1s") {
		t.Errorf("shown: %q", shown)
	}
	done()
	if shown := read(t, person); !strings.HasSuffix(shown, "\r\x1b[K") {
		t.Errorf("the line stays: %q", shown)
	}
}
