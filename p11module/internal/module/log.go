package module

import (
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"

	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

const syslogTag = "anyhsm-pkcs11"

type nothing struct{}

func (nothing) Close() error { return nil }

// openLog opens the log that was asked for, and none otherwise. A log that cannot be opened is no reason to fail: a
// server's workers often have fewer rights than the process that made the file.
func openLog(c config.Log) (*slog.Logger, io.Closer) {
	none := slog.New(slog.DiscardHandler)
	if c.File == "" {
		return none, nothing{}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelWarn
	}
	var output io.WriteCloser
	var err error
	if c.File == "syslog" {
		output, err = syslog.New(syslog.LOG_USER|syslog.LOG_NOTICE, syslogTag)
	} else {
		output, err = os.OpenFile(c.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	}
	if err != nil {
		complain(fmt.Sprintf("the log %s cannot be opened (%v); correct log.file or the rights of its directory", c.File, err))
		return none, nothing{}
	}
	handler := slog.NewTextHandler(output, &slog.HandlerOptions{Level: level})
	return slog.New(handler).With("pid", os.Getpid()), output
}

// complain tells the system's log what went wrong in C_Initialize: the application only gets a number, and there is no
// log of ours to tell it.
func complain(what string) {
	output, failed := syslog.New(syslog.LOG_USER|syslog.LOG_ERR, syslogTag)
	if failed != nil {
		return
	}
	_ = output.Err(what)
	_ = output.Close()
}
