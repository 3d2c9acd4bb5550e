package module

import "log/slog"

// Inherited is the pReserved string that a forked child's C_Initialize gets when it is given none; empty if the child
// finds the configuration by itself.
func (m *Module) Inherited() string { return m.inherited }

// Log is where the module logs.
func (m *Module) Log() *slog.Logger { return m.log }
