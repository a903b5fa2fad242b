package node

import (
	"context"
	"errors"

	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// Reader answers questions from a data folder, without a network and without a running node; one may run beside it.
// It implements [api.Reader]. Safe for concurrent use.
type Reader struct {
	view
}

var _ api.Reader = (*Reader)(nil)

// OpenReader opens the data folder of a device for reading. If nothing was ever stored there, the error is an
// [*Error] of kind not found.
func OpenReader(dir string) (*Reader, error) {
	st, err := store.OpenReadOnly(dir)
	if errors.Is(err, store.ErrNotFound) {
		return nil, explain(notFound("peerdex was never started here", "start it on a folder: peerdex up FOLDER"), err)
	}
	if err != nil {
		return nil, humane(err)
	}
	lib, err := openLibrary(context.Background(), st, "")
	if err != nil {
		return nil, humane(errors.Join(err, st.Close()))
	}
	return &Reader{view{st: st, lib: lib}}, nil
}

// Close closes the data folder.
func (r *Reader) Close() error { return r.st.Close() }
