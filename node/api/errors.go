package api

import (
	"errors"
	"net/http"
)

// AsError returns err as an [*Error]: the one it wraps, or a new one of kind [CodeFailed] that says what err says.
// It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeFailed, Title: err.Error()}
}

// HTTPStatus is the status that goes with a code; 500 for codes that are not known.
func (c Code) HTTPStatus() int {
	switch c {
	case CodeNotFound:
		return http.StatusNotFound
	case CodeUsage:
		return http.StatusBadRequest
	case CodeDenied:
		return http.StatusForbidden
	case CodeConflict, CodeRunning:
		return http.StatusConflict
	case CodeUnavailable, CodeNoDaemon, CodeIncomplete:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problemType opens the type of a problem object; the code follows.
const problemType = "urn:peerdex:error:"

// Problem is an [Error] as it crosses HTTP: a problem object of RFC 9457 with code and hint as extension members.
type Problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Error
}

// NewProblem returns the problem object of an error. Status 0 stands for the code's own.
func NewProblem(e *Error, status int) Problem {
	if status == 0 {
		status = e.Code.HTTPStatus()
	}
	return Problem{Type: problemType + string(e.Code), Status: status, Error: *e}
}
