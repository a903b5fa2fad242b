package api_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/node/api"
)

// TestExportErrors has an export fail before its first byte and after it, and on the side of who asked for it.
func TestExportErrors(t *testing.T) {
	want := &api.Error{Code: api.CodeUnavailable, Title: "what — why", Detail: strings.Repeat("x\n", 100), Hint: "peerdex next"}
	for _, file := range []string{"", "a begin", strings.Repeat("much", 100_000)} {
		c, _ := serve(t, &memory{err: want, file: file}, api.ServerOptions{})
		var b strings.Builder
		err := c.Export(t.Context(), api.ExportRequest{Of: "x"}, &b)
		if d := cmp.Diff(want, api.AsError(err)); d != "" || b.String() != file {
			t.Errorf("after %d bytes: %s", len(file), d)
		}
	}
	long := &api.Error{Code: api.CodeFailed, Title: "t", Detail: strings.Repeat("<", 100_000)}
	c, _ := serve(t, &memory{err: long, file: "a begin"}, api.ServerOptions{})
	if err := c.Export(t.Context(), api.ExportRequest{}, io.Discard); err == nil || api.AsError(err).Title != "t" {
		t.Errorf("a long error: %v", err)
	}
	full := errors.New("the disk is full")
	c, _ = serve(t, &memory{file: "a file"}, api.ServerOptions{})
	if err := c.Export(t.Context(), api.ExportRequest{}, brokenWriter{full}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

// TestImportErrors refuses a file before it was read, breaks one off, and gives up on one.
func TestImportErrors(t *testing.T) {
	want := &api.Error{Code: api.CodeDenied, Title: "what", Detail: "why", Hint: "peerdex next"}
	c, _ := serve(t, &memory{err: want}, api.ServerOptions{})
	endless := io.LimitReader(zeros{}, 1<<30)
	if _, err := c.Import(t.Context(), endless); api.AsError(err).Code != want.Code {
		t.Errorf("refused at once: %v", err)
	}
	pulled := errors.New("the stick was pulled out")
	m := &memory{}
	c, _ = serve(t, m, api.ServerOptions{})
	_, err := c.Import(t.Context(), io.MultiReader(io.LimitReader(zeros{}, 1<<20), brokenReader{pulled}))
	if !errors.Is(err, pulled) || m.last() != nil {
		t.Errorf("a file that can't be read: %v; the backend took %v", err, m.last())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Import(ctx, io.MultiReader(io.LimitReader(zeros{}, 1<<20), cancelReader{cancel}, zeros{}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

type cancelReader struct{ cancel func() }

func (c cancelReader) Read([]byte) (int, error) { c.cancel(); return 0, io.EOF }
