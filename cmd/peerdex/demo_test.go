package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
)

// TestCompareStores compares a location with a copy of it, and with a copy that was changed since: the demo must tell.
func TestCompareStores(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	var ref index.Location
	withStore(t, a, func(s *store.Store) {
		var err error
		if ref, err = s.Create(t.Context(), index.LibraryID{1}, index.Record{Name: "docs", Root: "/docs", Platform: "linux"}); err != nil {
			t.Fatal(err)
		}
		putFiles(t, s, ref, "one", "two")
	})
	if err := os.CopyFS(b, os.DirFS(a)); err != nil {
		t.Fatal(err)
	}
	rows, first, err := compareStores(t.Context(), a, b, ref)
	if err != nil || rows != 3 || first != "" {
		t.Errorf("a copy: %d rows, %q, %v; want 3 rows and no difference", rows, first, err)
	}
	withStore(t, b, func(s *store.Store) { putFiles(t, s, ref, "three") })
	if _, first, err = compareStores(t.Context(), a, b, ref); err != nil || first == "" {
		t.Errorf("another entry: %q, %v; want a difference", first, err)
	}
	app := testApp("", nil)
	d := &demoRun{app: app, data: demoData{Rows: rows, Difference: first}}
	d.print()
	if out := app.out.(*strings.Builder).String(); !strings.Contains(out, "different: "+first) || strings.Contains(out, "equal") {
		t.Errorf("printed:\n%s", out)
	}
	if root, err := verifyStore(t.Context(), b, ref); err != nil || root.IsZero() {
		t.Errorf("verify: %v, %v", root, err)
	}
	if _, _, err = compareStores(t.Context(), a, filepath.Join(dir, "none"), ref); err == nil {
		t.Error("nothing was compared with something")
	}
}

func withStore(t *testing.T, dir string, f func(*store.Store)) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func putFiles(t *testing.T, s *store.Store, ref index.Location, names ...string) {
	t.Helper()
	_, err := s.Commit(t.Context(), ref, func(yield func(index.Change, error) bool) {
		for _, n := range names {
			e := index.Entry{Kind: index.KindFile, Size: int64(len(n)), MTime: 1, Mode: 0o644}
			if !yield(index.Change{Op: index.Put, Path: n, Entry: e}, nil) {
				return
			}
		}
	}, store.CommitOptions{AsOf: time.Now})
	if err != nil {
		t.Fatal(err)
	}
}
