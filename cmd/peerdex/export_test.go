package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/archive"
)

// TestWriteFile writes a file, over one or not, and fails at it: there is the whole file, or what was there before.
func TestWriteFile(t *testing.T) {
	full := errors.New("no space left")
	text := func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	}
	for _, tc := range []struct {
		name, path string
		force      bool
		write      func(io.Writer) error
		want       string // in the error
		left       string // the content of "there" and of "new"
	}{
		{"new", "new", false, text, "", "old new"},
		{"there", "there", false, text, "is there already", "old "},
		{"there, by force", "there", true, text, "", "new "},
		{"a folder", "folder", true, text, "is a folder", "old "},
		{"in no folder", "missing/new", true, text, "can't write to", "old "},
		{"half", "there", true, func(w io.Writer) error { return errors.Join(text(w), full) }, "no space left", "old "},
		{"somebody was faster", "new", false, func(w io.Writer) error {
			return errors.Join(text(w), os.WriteFile(filepath.Join(filepath.Dir(w.(*os.File).Name()), "new"), []byte("theirs"), 0o600))
		}, "is there already", "old theirs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "there"), []byte("old"), 0o644), os.Mkdir(filepath.Join(dir, "folder"), 0o755)); err != nil {
				t.Fatal(err)
			}
			err := writeFile(filepath.Join(dir, tc.path), tc.force, tc.write)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			there, _ := os.ReadFile(filepath.Join(dir, "there"))
			fresh, _ := os.ReadFile(filepath.Join(dir, "new"))
			if got := string(there) + " " + string(fresh); got != tc.left {
				t.Errorf("left %q, want %q", got, tc.left)
			}
			if temp, _ := filepath.Glob(filepath.Join(dir, ".*")); len(temp) > 0 {
				t.Errorf("left behind: %q", temp)
			}
		})
	}
}

// scripted is a reader that exports what a test says.
type scripted struct {
	api.Reader
	write func(io.Writer) error
}

func (s scripted) Export(_ context.Context, _ api.ExportRequest, w io.Writer) error {
	return s.write(w)
}

// TestExportIsRead has exports end in every way: what is not whole is never taken for a file, and nothing waits for ever.
func TestExportIsRead(t *testing.T) {
	stop := &api.Error{Code: api.CodeFailed, Title: "the disk is on fire"}
	garbage := []byte(strings.Repeat("garbage ", 100_000))
	for _, tc := range []struct {
		name  string
		write func(io.Writer) error
		to    io.Writer
		want  error
	}{
		{"nothing", func(io.Writer) error { return nil }, io.Discard, archive.ErrTruncated},
		{"an error", func(io.Writer) error { return stop }, io.Discard, stop},
		{"garbage", func(w io.Writer) error { _, err := w.Write(garbage); return err }, io.Discard, archive.ErrFormat},
		{"garbage of one that does not look", func(w io.Writer) error {
			for range 100 {
				_, _ = w.Write(garbage)
			}
			return nil
		}, io.Discard, archive.ErrFormat},
		{"a full disk", func(w io.Writer) error { _, err := w.Write(garbage); return err }, brokenWriter{}, &api.Error{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &exporter{app: testApp("", nil), st: &api.Status{}, data: exportData{File: "x"}}
			err := e.write(t.Context(), scripted{write: tc.write}, "nas", tc.to)
			if _, full := tc.to.(brokenWriter); full {
				if err == nil || !strings.Contains(err.Error(), "can't write to x") {
					t.Errorf("%v", err)
				}
			} else if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestMissing says what an export of a device lacks; an export of one location lacks nothing.
func TestMissing(t *testing.T) {
	nas := index.DeviceID{1}
	loc := func(n byte, name, state string) api.Location {
		return api.Location{Owner: nas, ID: index.LocationID{n}, Device: "nas", Name: name, Root: "/tank/" + name, State: state}
	}
	st := api.Status{Locations: []api.Location{
		loc(1, "photos", api.StateCurrent), loc(2, "films", api.StateNever), loc(3, "gone", api.StateRetired),
		{Owner: index.DeviceID{2}, ID: index.LocationID{4}, Device: "laptop", Name: "docs", State: api.StateNever},
	}}
	for of, want := range map[string][]string{
		"nas": {"nas:films"}, "nas:": {"nas:films"}, "na": {"nas:films"},
		"photos": {}, "nas:photos": {}, "/tank/photos": {}, "/tank/photos/": {}, "nas:/tank/photos": {}, index.LocationID{1}.String(): {},
	} {
		e := &exporter{st: &st, data: exportData{Missing: []string{}, Locations: []exportedLocation{{Owner: nas, ID: index.LocationID{1}, Device: "nas", Name: "photos"}}}}
		e.findMissing(of)
		if d := cmp.Diff(want, e.data.Missing); d != "" {
			t.Errorf("%q: %s", of, d)
		}
	}
}
