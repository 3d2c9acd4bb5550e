package keystore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// The SQLSTATEs that mean something to us; PostgreSQL's documentation lists them all.
const (
	uniqueViolation, foreignKeyViolation               = "23505", "23503"
	serializationFailure, deadlockDetected             = "40001", "40P01"
	featureNotSupported, undefinedFunction             = "0A000", "42883"
	queryCanceled                                      = "57014"
	diskFull, outOfMemory, tooManyConnections          = "53100", "53200", "53300"
	readOnlyTransaction, idleInTransaction             = "25006", "25P03"
	insufficientPrivilege, noSuchDatabase, noSuchTable = "42501", "3D000", "42P01"
	notUTF8, untranslatable                            = "22021", "22P05"
	internalError, dataCorrupted, indexCorrupted       = "XX000", "XX001", "XX002"
)

// initFile is in the words with which PostgreSQL refuses a connection on a full disk: it keeps a cache beside each
// database (pg_internal.init), which whoever connects first after certain changes writes anew, and has no SQLSTATE
// for it when that fails.
const initFile = "could not write init file"

// transient tells what passes: lost connections, a server that starts, stops or hands over, and transactions that met.
func (e *postgresEngine) transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !dialled(err) {
		return false
	}
	var failure *pgconn.PgError
	if errors.Is(err, errSilent) {
		return true
	}
	if errors.As(err, &failure) {
		switch failure.Code {
		case serializationFailure, deadlockDetected, tooManyConnections, readOnlyTransaction, idleInTransaction:
			return true
		case featureNotSupported:
			// A migration has changed a table under a prepared statement.
			return strings.Contains(failure.Message, "cached plan")
		case queryCanceled:
			return false
		}
		// 08: connection exception; 57P: the server stops, starts or recovers.
		return strings.HasPrefix(failure.Code, "08") || strings.HasPrefix(failure.Code, "57P")
	}
	return lost(err)
}

// dialled tells that the time to connect ran out, not the caller's.
func dialled(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}

// lost tells whether a connection could not be made or broke.
func lost(err error) bool {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var verification *tls.CertificateVerificationError
	if errors.As(err, &invalid) || errors.As(err, &unknown) || errors.As(err, &wrongName) || errors.As(err, &verification) ||
		strings.Contains(err.Error(), "server refused TLS") {
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) || pgconn.SafeToRetry(err)
}

// fault tells what a failure of PostgreSQL means and what to do. The driver's errors name user, host and database, and
// never a password.
func (e *postgresEngine) fault(err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	var failure *pgconn.PgError
	switch {
	case errors.As(err, &failure):
		return e.serverFault(failure, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !dialled(err):
		return otherFault(err)
	case e.transient(err):
		return fault.New(fault.DeviceError, "the database server of the store %s cannot be reached: %w; start it, or correct store, and call again", e.label, err)
	case dialled(err):
		return fault.New(fault.InvalidInput, "the connection to the store %s is not secure: %w; give the server a certificate for this host name and the URL its CA (sslrootcert=/path), or choose another sslmode", e.label, err)
	}
	return otherFault(err)
}

func (e *postgresEngine) serverFault(failure *pgconn.PgError, err error) error {
	switch code := failure.Code; code {
	case uniqueViolation:
		return fault.New(fault.AlreadyExists, "it exists already: %w; choose another name", err)
	case foreignKeyViolation:
		return fault.New(fault.NotFound, "what it belongs to does not exist: %w; make that first", err)
	case notUTF8, untranslatable:
		return fault.New(fault.InvalidInput, "a text is not UTF-8 or has a zero byte: %w; write it without", err)
	case serializationFailure, deadlockDetected:
		return fault.New(fault.Conflict, "the store %s is busy: %w; call again", e.label, err)
	case diskFull:
		return fault.New(fault.DeviceMemory, "the disk of the store %s is full, so nothing was changed: %w; free space on the database server and call again", e.label, err)
	case outOfMemory:
		return fault.New(fault.HostMemory, "the database server of the store %s has no memory: %w; give it more", e.label, err)
	case tooManyConnections:
		return fault.New(fault.DeviceError, "the database server of the store %s takes no more connections: %w; raise its max_connections (a daemon opens up to %d)", e.label, err, writers+readers+turnsAtOnce+1)
	case readOnlyTransaction:
		return fault.New(fault.DeviceError, "the database server of the store %s is a read-only replica: %w; name the primary in store, or all servers", e.label, err)
	case noSuchDatabase:
		return fault.New(fault.InvalidInput, "store: %w; make the database on %s: CREATE DATABASE %s OWNER %s", err, address(e.config), e.config.Database, e.config.User)
	case insufficientPrivilege:
		return fault.New(fault.InvalidInput, "store: the user %q may not do this in %s: %w; make it the owner of the database", e.config.User, e.label, err)
	case dataCorrupted, indexCorrupted:
		return fault.New(fault.StoreDamaged, "the store %s is damaged: %w; stop the daemons and restore the database from a backup", e.label, err)
	case queryCanceled:
		return fault.New(fault.FunctionCanceled, "the call was cancelled: %w; call again", err)
	case internalError:
		if strings.Contains(failure.Message, initFile) {
			return fault.New(fault.DeviceMemory, "the disk of the store %s is full, so the server takes no new connection: %w; free space on the database server and call again", e.label, err)
		}
	case noSuchTable:
		return fault.New(fault.StoreDamaged, "the store %s has lost a table: %w; restore the database from a backup", e.label, err)
	default:
		switch {
		case strings.HasPrefix(code, "28"):
			return fault.New(fault.InvalidInput, "store: the server %s does not let the user %q in: %w; correct the user in store, store_password, or the server's pg_hba.conf", address(e.config), e.config.User, err)
		case e.transient(err):
			return fault.New(fault.DeviceError, "the database server of the store %s went away: %w; call again when it runs", e.label, err)
		}
	}
	return fault.New(fault.Internal, "the store %s failed: %w; look at the database server's log", e.label, err)
}
