package scan

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestRootGoesAway(t *testing.T) {
	tests := []struct {
		name string
		away func(root string) error
		want error
	}{
		{"renamed", func(root string) error { return os.Rename(root, root+".away") }, ErrRootMissing},
		{"removed", os.RemoveAll, ErrRootMissing},
		{"replaced", func(root string) error {
			return errors.Join(os.Rename(root, root+".away"), os.MkdirAll(filepath.Join(root, "a/b"), 0o755))
		}, ErrRootMissing},
		{"a file now", func(root string) error {
			return errors.Join(os.Rename(root, root+".away"), os.WriteFile(root, nil, 0o644))
		}, ErrRootMissing},
		{"emptied", func(root string) error {
			return errors.Join(os.RemoveAll(filepath.Join(root, "a")), os.RemoveAll(filepath.Join(root, "b")))
		}, ErrRootEmpty},
	}
	for _, tt := range tests {
		for _, at := range []string{"a", "b/c"} {
			for _, fails := range []bool{false, true} {
				root := filepath.Join(t.TempDir(), "root")
				makeTree(t, root, "a/x", "b/c/x", "b/c/d/x")
				m := newModel(t)
				m.scan(root)
				f := &faults{onOpen: func(rel string) error {
					if rel != at {
						return nil
					}
					if err := tt.away(root); err != nil {
						t.Errorf("%s: %v", tt.name, err)
					}
					if fails {
						return syscall.EIO
					}
					return nil
				}}
				_, _, err := m.tryScan(root, f.with)
				if !errors.Is(err, tt.want) {
					t.Errorf("%s at %s, open fails: %v: error %v, want %v", tt.name, at, fails, err, tt.want)
				}
			}
		}
	}
}

func TestRootErrors(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "file", "full/a", "full/b/c", "empty/", "link->full")
	tests := []struct {
		name       string
		root       string
		hasEntries bool
		faults     faults
		want       error
	}{
		{"missing", "none", true, faults{}, ErrRootMissing},
		{"missing on first scan", "none", false, faults{}, ErrRootMissing},
		{"parent missing", "none/at/all", true, faults{}, ErrRootMissing},
		{"parent a file", "file/x", true, faults{}, ErrRootMissing},
		{"a file", "file", true, faults{}, ErrRootNotFolder},
		{"a link", "link", true, faults{}, ErrRootNotFolder},
		{"a link with slash", "link/", true, faults{}, ErrRootNotFolder},
		{"empty", "empty", true, faults{}, ErrRootEmpty},
		{"empty on first scan", "empty", false, faults{}, nil},
		{"unreadable", "full", true, faults{onOpen: on("", syscall.EACCES)}, ErrRootUnreadable},
		{"keeps the reason", "full", true, faults{onOpen: on("", syscall.EACCES)}, fs.ErrPermission},
		{"stale", "full", true, faults{onOpen: on("", syscall.ESTALE)}, ErrRootUnreadable},
		{"listing broken", "full", true, faults{onNext: func(rel string, done int) ([]byte, error) {
			if rel == "" && done == 1 {
				return nil, syscall.EIO
			}
			return nil, nil
		}}, ErrRootUnreadable},
		{"stat fails at the end", "full", true, faults{onRoot: func() error { return syscall.EIO }}, ErrRootUnreadable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Config{
				Root: dir + "/" + tt.root, NextID: 2, Known: newModel(t), HasEntries: tt.hasEntries,
			})
			tt.faults.with(s)
			var err error
			for c, e := range s.Changes(context.Background()) {
				if err = e; err == nil && tt.want != nil && tt.faults.onRoot == nil {
					t.Errorf("yielded %+v", c)
				}
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}
