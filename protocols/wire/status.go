package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Errors that cross the wire as status codes. The other side's status unwraps to the same value, so that callers
// ask errors.Is on either side. The errors of package index about transfers cross as well.
var (
	// ErrMalformed is returned when bytes from a peer break a format or a limit.
	ErrMalformed = errors.New("malformed")
	// ErrVersion is returned when a peer speaks a version of a protocol that this side doesn't know.
	ErrVersion = errors.New("unknown version of the protocol")
	// ErrBusy is returned when the other side has no room now; its [Status] may say when to try again.
	ErrBusy = errors.New("busy")
	// ErrNoReplica is returned when the other side holds no replica of the location asked for.
	ErrNoReplica = errors.New("no replica of the location")
	// ErrWindowClosed is returned when pairing finds no open invite: never made, used, or expired.
	ErrWindowClosed = errors.New("no invite is open")
	// ErrDenied is returned when the other side did not accept the proof.
	ErrDenied = errors.New("denied")
	// ErrRefused is what refusals of an unknown code unwrap to.
	ErrRefused = errors.New("refused")
	// ErrFailed is returned when the other side failed for reasons of its own.
	ErrFailed = errors.New("the other side had an error")
)

// Code is the number of a status. Its hundreds say the family: 1 done, 2 refused, 3 failed, 4 malformed. Codes are
// part of the format: appended to, never renumbered.
type Code uint16

// The codes of a status.
const (
	CodeOK           Code = 100
	CodeBusy         Code = 200
	CodeNoReplica    Code = 201
	CodeBelowHorizon Code = 202
	CodeEpochChanged Code = 203
	CodeBehind       Code = 204
	CodeWindowClosed Code = 205
	CodeDenied       Code = 206
	CodeFailed       Code = 300
	CodeMalformed    Code = 400
	CodeVersion      Code = 401
)

// statusErrors is the one table between errors and codes, used both ways.
var statusErrors = [...]struct {
	code Code
	err  error
}{
	{CodeBusy, ErrBusy},
	{CodeNoReplica, ErrNoReplica},
	{CodeBelowHorizon, index.ErrBelowHorizon},
	{CodeEpochChanged, index.ErrEpochChanged},
	{CodeBehind, index.ErrProviderBehind},
	{CodeWindowClosed, ErrWindowClosed},
	{CodeDenied, ErrDenied},
	{CodeVersion, ErrVersion},
	{CodeMalformed, ErrMalformed},
	{CodeFailed, ErrFailed},
}

// Status is the outcome that one side tells the other: a code, never text. As an error it unwraps to the sentinel
// of its code. The zero value is not a status.
type Status struct {
	Code       Code
	RetryAfter time.Duration // whole seconds, at most [MaxRetryAfter]; 0 = not said
}

// Error says what the other side answered.
func (s Status) Error() string {
	if s.RetryAfter > 0 {
		return fmt.Sprintf("peer answered %d, %v, try again after %v", s.Code, s.Unwrap(), s.RetryAfter)
	}
	return fmt.Sprintf("peer answered %d, %v", s.Code, s.Unwrap())
}

// Unwrap returns the sentinel of the code, or that of its family when the code is unknown; nil for the family 1.
func (s Status) Unwrap() error {
	for _, e := range statusErrors {
		if e.code == s.Code {
			return e.err
		}
	}
	switch s.Code / 100 {
	case 1:
		return nil
	case 2:
		return ErrRefused
	case 4:
		return ErrMalformed
	}
	return ErrFailed
}

// StatusOf returns the status that stands for err on the wire. Errors that have no code of their own are
// [CodeFailed]; nil is [CodeOK]. A status that came from another peer is not passed on.
func StatusOf(err error) Status {
	if err == nil {
		return Status{Code: CodeOK}
	}
	var r Refusal
	if errors.As(err, &r) {
		s := StatusOf(r.Err)
		s.RetryAfter = min(max(r.RetryAfter, 0), MaxRetryAfter).Truncate(time.Second)
		return s
	}
	if _, relayed := errors.AsType[Status](err); relayed {
		return Status{Code: CodeFailed}
	}
	for _, e := range statusErrors {
		if errors.Is(err, e.err) {
			return Status{Code: e.code}
		}
	}
	return Status{Code: CodeFailed}
}

// Refusal is an error of this side that also tells the other when to try again.
type Refusal struct {
	Err        error
	RetryAfter time.Duration
}

// Error returns the text of the error inside.
func (r Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the error inside.
func (r Refusal) Unwrap() error { return r.Err }
