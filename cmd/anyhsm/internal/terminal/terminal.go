// Package terminal asks people: secrets without echo, yes or no, and shows the progress of long work. It talks to the
// controlling terminal, so that standard input and output stay free for data.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoTerminal says that nobody is there to be asked.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

const longestLine = 4096

// Is tells whether a stream is a terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// Available tells whether a question can be asked.
func Available() bool {
	tty, err := open()
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// AskSecret asks for a secret and does not show what is typed.
func AskSecret(ctx context.Context, question string) ([]byte, error) {
	tty, err := open()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	restore, err := silence(tty)
	if err != nil {
		return nil, err
	}
	defer restore()
	return ask(ctx, tty, question, true)
}

// AskNewSecret asks twice and wants the same answer.
func AskNewSecret(ctx context.Context, question string) ([]byte, error) {
	first, err := AskSecret(ctx, question)
	if err != nil {
		return nil, err
	}
	second, err := AskSecret(ctx, "The same again")
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, errors.New("the two entries differ; start again")
	}
	return first, nil
}

// Confirm asks a question that only "y" or "yes" affirms.
func Confirm(ctx context.Context, question string) (bool, error) {
	tty, err := open()
	if err != nil {
		return false, err
	}
	defer tty.Close()
	answer, err := ask(ctx, tty, question+" [y/N]", false)
	if err != nil {
		return false, err
	}
	answer = bytes.ToLower(bytes.TrimSpace(answer))
	return string(answer) == "y" || string(answer) == "yes", nil
}

func open() (*os.File, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNoTerminal
	}
	return tty, nil
}

// silence turns the echo off and returns what turns it on again.
func silence(tty *os.File) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("cannot turn the terminal's echo off: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETSW, &silent); err != nil {
		return nil, fmt.Errorf("cannot turn the terminal's echo off: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETSW, before) }, nil
}

// ask prints a question and reads one line. The read happens in its own goroutine because a read of a terminal does
// not end with a context; the process ends soon after a cancelled question.
func ask(ctx context.Context, tty *os.File, question string, silent bool) ([]byte, error) {
	if _, err := fmt.Fprintf(tty, "%s: ", question); err != nil {
		return nil, ErrNoTerminal
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := readLine(tty)
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(tty)
		return nil, ctx.Err()
	case a := <-answers:
		if silent {
			_, _ = fmt.Fprintln(tty)
		}
		return a.line, a.err
	}
}

// readLine reads byte by byte so that it takes nothing beyond the line's end.
func readLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, 64)
	one := make([]byte, 1)
	for len(line) < longestLine {
		n, err := r.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return bytes.TrimSuffix(line, []byte("\r")), nil
			}
			line = append(line, one[0])
		}
		if err == io.EOF && len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the terminal gave no answer: %w", err)
		}
	}
	return nil, errors.New("the answer is too long")
}

// Progress shows that long work goes on: a line that is renewed each second, on a terminal only. The function that it
// returns removes the line.
func Progress(w io.Writer, what string) (done func()) {
	return ProgressOf(w, func() string { return what })
}

// ProgressOf is Progress for work that can tell how far it is. The function must be safe to call at any time.
func ProgressOf(w io.Writer, what func() string) (done func()) {
	if !Is(w) {
		return func() {}
	}
	began := time.Now()
	ticker := time.NewTicker(time.Second)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				_, _ = fmt.Fprint(w, "\r\x1b[K")
				return
			case <-ticker.C:
				_, _ = fmt.Fprintf(w, "\r\x1b[K%s … %s", what(), time.Since(began).Truncate(time.Second))
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
