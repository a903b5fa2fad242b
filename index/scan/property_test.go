//go:build unix

package scan

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var names = rapid.SampledFrom([]string{"a", "b", "A", "aa", "new\nline", "\xff\xfe", ".hidden", "c d", "é", "-rf", "*"})

// editor makes random edits in a folder.
type editor struct {
	t    *rapid.T
	root string
}

// folders lists the folders below the root, the root included.
func (e editor) folders() []string {
	var out []string
	for p, s := range walk(e.t, e.root) {
		if s.kind.String() == "dir" {
			out = append(out, filepath.Join(e.root, p))
		}
	}
	slices.Sort(out)
	return out
}

func (e editor) edit() {
	dir := rapid.SampledFrom(e.folders()).Draw(e.t, "folder")
	path := filepath.Join(dir, names.Draw(e.t, "name"))
	when := time.Unix(0, rapid.Int64Range(-1<<60, 1<<60).Draw(e.t, "time"))
	var err error
	switch rapid.IntRange(0, 9).Draw(e.t, "edit") {
	case 0, 1:
		err = os.Mkdir(path, 0o755)
	case 2, 3:
		size := rapid.IntRange(0, 99).Draw(e.t, "size")
		if info, statErr := os.Lstat(path); statErr != nil || info.Mode().IsRegular() {
			err = os.WriteFile(path, make([]byte, size), 0o644)
		}
	case 4:
		err = os.Symlink(rapid.SampledFrom([]string{".", "..", "a", "/", "no/where"}).Draw(e.t, "target"), path)
	case 5:
		err = unix.Mkfifo(path, 0o600)
	case 6:
		err = os.RemoveAll(path)
	case 7:
		to := filepath.Join(rapid.SampledFrom(e.folders()).Draw(e.t, "to"), names.Draw(e.t, "as"))
		err = os.Rename(path, to)
	case 8:
		err = unix.Fchmodat(unix.AT_FDCWD, path, rapid.SampledFrom([]uint32{0o700, 0o4755, 0o1777}).Draw(e.t, "mode"), 0)
	case 9:
		ts := unix.NsecToTimespec(when.UnixNano())
		err = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	// Edits that make no sense where they hit are part of the game.
	for _, ok := range []error{nil, fs.ErrExist, fs.ErrNotExist, unix.EISDIR, unix.ENOTDIR, unix.ENOTEMPTY, unix.EINVAL,
		unix.ELOOP} {
		if errors.Is(err, ok) {
			return
		}
	}
	e.t.Fatalf("edit: %v", err)
}

// After each scan the rows are the folder, and a scan of an unchanged folder yields nothing.
func TestRandomEdits(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatalf("make folder: %v", err)
		}
		e, m := editor{t, root}, newModel(t)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 20).Draw(t, "edits") {
				e.edit()
			}
			want := walk(t, root)
			if len(want) == 1 && len(m.rows) > 1 {
				if _, _, err := m.tryScan(root); !errors.Is(err, ErrRootEmpty) {
					t.Fatalf("emptied root: %v", err)
				}
				return
			}
			m.scan(root)
			if diff := cmp.Diff(want, m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
				t.Fatalf("rows differ from the folder: %s", diff)
			}
			if puts, res := m.scan(root); len(puts) != 0 || len(res.Missing) != 0 || res.UnreadableTotal != 0 {
				t.Fatalf("second scan: puts %+v, result %+v", puts, res)
			}
		}
	})
}

// Whatever fails, nothing that exists is missing, and once nothing fails the rows are the folder again.
func TestRandomFaults(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatalf("make folder: %v", err)
		}
		if err := makeOne(root, "a/stays"); err != nil {
			t.Fatalf("make file: %v", err)
		}
		e, m := editor{t, root}, newModel(t)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 15).Draw(t, "edits") {
				e.edit()
			}
			scanFaulty(t, m, root)
		}
		if len(walk(t, root)) == 1 {
			return
		}
		m.scan(root)
		if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
			t.Fatalf("rows differ from the folder: %s", diff)
		}
	})
}

// scanFaulty scans once with random faults and checks that what is missing is missing.
func scanFaulty(t *rapid.T, m *model, root string) {
	var paths []string
	for p := range walk(t, root) {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	kinds := map[string]string{}
	for range rapid.IntRange(0, 5).Draw(t, "faults") {
		p := rapid.SampledFrom(paths).Draw(t, "at")
		kinds[p] = rapid.SampledFrom([]string{"open", "vanish", "list", "lstat"}).Draw(t, "fault")
	}
	var mu sync.Mutex
	hits := 0
	fault := func(path, kind string, err error) error {
		if kinds[path] != kind {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		hits++
		return err
	}
	f := &faults{
		onOpen: func(rel string) error {
			return errors.Join(fault(rel, "open", syscall.EACCES), fault(rel, "vanish", syscall.ENOENT))
		},
		onNext: func(rel string, done int) ([]byte, error) {
			if done == 1 {
				return nil, fault(rel, "list", syscall.EIO)
			}
			return nil, nil
		},
		onLstat: func(rel string, _ *inode) error { return fault(rel, "lstat", syscall.EIO) },
	}
	rows := len(m.rows)
	_, res, err := m.tryScan(root, f.with)
	if err != nil {
		if !errors.Is(err, ErrRootUnreadable) && !errors.Is(err, ErrRootMissing) && !errors.Is(err, ErrRootEmpty) ||
			len(m.rows) < rows {
			t.Fatalf("scan: %v", err)
		}
		return
	}
	for _, x := range res.Missing {
		info, err := os.Lstat(filepath.Join(root, m.path(x.ID)))
		switch {
		case x.Replacement != nil && err == nil && !info.IsDir():
		case x.Replacement == nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		default:
			t.Fatalf("%q is said to be missing: %+v, but %v", m.path(x.ID), x, err)
		}
	}
	for _, u := range res.Unreadable {
		if !slices.ContainsFunc(paths, func(p string) bool { return p == u.Path && kinds[p] != "" }) {
			t.Fatalf("unreadable %q: %v: faults %v", u.Path, u.Err, kinds)
		}
	}
	if res.UnreadableTotal == 0 && hits != 0 {
		t.Fatalf("%d faults hit, none told: %v", hits, strings.Join(paths, " "))
	}
	m.remove(res.Missing)
}
