package node

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/store/query"
)

func usage(title, detail, hint string) *Error {
	return &Error{Code: api.CodeUsage, Title: title, Detail: detail, Hint: hint}
}

func notFound(title, hint string) *Error {
	return &Error{Code: api.CodeNotFound, Title: title, Hint: hint}
}

func conflict(title, detail, hint string) *Error {
	return &Error{Code: api.CodeConflict, Title: title, Detail: detail, Hint: hint}
}

// explained is an error for people that keeps its cause for programs.
type explained struct {
	shown *Error
	cause error
}

func (e explained) Error() string { return e.shown.Error() }

func (e explained) Unwrap() []error { return []error{e.shown, e.cause} }

func explain(e *Error, cause error) error { return explained{e, cause} }

// humane gives the errors of the store and of queries words for people. Others pass unchanged.
func humane(err error) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*Error](err); done {
		return err
	}
	if q, ok := errors.AsType[*query.Error](err); ok {
		what := q.Msg
		if q.Token != "" {
			what = q.Token + ": " + q.Msg
		}
		return explain(&Error{Code: api.CodeUsage, Title: "the query can't be read", Detail: what, Hint: q.Hint}, err)
	}
	if l, ok := errors.AsType[*store.LockedError](err); ok {
		detail := "another peerdex uses " + l.Dir
		if l.PID != 0 {
			detail = fmt.Sprintf("process %d uses %s", l.PID, l.Dir)
		}
		return explain(&Error{
			Code: api.CodeRunning, Title: "peerdex is running already", Detail: detail,
			Hint: "talk to it (peerdex status), or stop it first: peerdex down",
		}, err)
	}
	if q, ok := errors.AsType[*store.QuarantineError](err); ok {
		return explain(&Error{
			Code: api.CodeUnavailable, Title: "a part of the index is quarantined", Detail: err.Error(),
			Hint: "it is replaced by itself; peerdex status says when (" + q.Location.String() + ")",
		}, err)
	}
	if d, ok := errors.AsType[*store.NodeDBError](err); ok {
		return explain(&Error{
			Code: api.CodeFailed, Title: "peerdex's own database is damaged",
			Detail: d.Error() + "; a failing disk does that, or a copy that was made while peerdex was running",
			Hint: "check the disk, and move " + d.Path + "* away; put node.db back from a backup, if there is one; then: peerdex up." +
				" Without a backup, pair this device with another one again, by peerdex join; it is known there, since identity.key is as it was",
		}, err)
	}
	for _, k := range []struct {
		is    error
		shown Error
	}{
		{store.ErrDiskFull, Error{
			Code: api.CodeFailed, Title: "the disk is full",
			Detail: "nothing that was indexed before is lost; what was being written was rolled back",
			Hint:   "free some space on the disk with the data folder, then: peerdex scan",
		}},
		{store.ErrNewerVersion, Error{
			Code: api.CodeFailed, Title: "the data was written by a newer version of peerdex", Detail: err.Error(),
			Hint: "update this program; the data was not touched",
		}},
		{store.ErrIdentity, Error{
			Code: api.CodeFailed, Title: "the key of this device can't be read", Detail: err.Error(),
			Hint: "put identity.key back from a backup; without one, move the data folder away to start as a new device",
		}},
		{store.ErrCorrupt, Error{
			Code: api.CodeFailed, Title: "a database is damaged", Detail: err.Error(),
			Hint: "check the disk; the file was not touched",
		}},
		{store.ErrStalled, Error{
			Code: api.CodeUnavailable, Title: "the search was ended", Detail: "nobody read on in its answer for a minute",
			Hint: "search again, for less or with --limit",
		}},
		{fs.ErrPermission, Error{
			Code: api.CodeFailed, Title: "no permission", Detail: err.Error(), Hint: "check who owns the data folder",
		}},
	} {
		if errors.Is(err, k.is) {
			return explain(&k.shown, err)
		}
	}
	return err
}
