package module

import (
	"io"
	"log/slog"
	"log/syslog"
	"os"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

const syslogTag = "anyhsm-pkcs11"

type nothing struct{}

func (nothing) Close() error { return nil }

// openLog opens the log that was asked for, and none otherwise.
func openLog(c config.Log) (*slog.Logger, io.Closer, error) {
	if c.File == "" {
		return slog.New(slog.DiscardHandler), nothing{}, nil
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
		return nil, nil, fault.New(fault.Internal, "the log %s cannot be opened; correct log.file or its directory's rights: %w", c.File, err)
	}
	handler := slog.NewTextHandler(output, &slog.HandlerOptions{Level: level})
	return slog.New(handler).With("pid", os.Getpid()), output, nil
}

// complain tells the system's log why C_Initialize failed: the application only gets a number, and there is no log of
// ours to tell it.
func complain(err error) {
	output, failed := syslog.New(syslog.LOG_USER|syslog.LOG_ERR, syslogTag)
	if failed != nil {
		return
	}
	_ = output.Err("C_Initialize failed: " + err.Error())
	_ = output.Close()
}
