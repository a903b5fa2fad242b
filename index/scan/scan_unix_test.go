//go:build unix

package scan

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/peerdex/peerdex/index"
)

func TestOddNames(t *testing.T) {
	root := t.TempDir()
	odd := []string{
		"new\nline", "tab\t", "\x01\x7f", "\xff\xfe\x80", "é", "e\u0301", " ", "...", "-", "a\\b", `"`, strings.Repeat("x", 255),
		strings.Repeat("é", 127),
	}
	for _, name := range odd {
		if err := makeOne(root, name+"/"+name); err != nil {
			// Some filesystems take UTF-8 only.
			t.Logf("%q: %v", name, err)
		}
	}
	m := newModel(t)
	puts, res := m.scan(root)
	if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" || res.UnreadableTotal != 0 {
		t.Errorf("rows differ from the folder: %s, unreadable %v", diff, res.Unreadable)
	}
	var top []string
	for _, e := range puts {
		if e.Parent == index.RootID {
			top = append(top, e.Name)
		}
	}
	if !slices.IsSorted(top) {
		t.Errorf("not in order of bytes: %q", top)
	}
	if puts, res = m.scan(root); len(puts) != 0 || len(res.Missing) != 0 {
		t.Errorf("second scan: %+v, %+v", puts, res.Missing)
	}
}

// FIFOs would block whoever opens them, and links could lead in circles or out of the folder.
func TestNodesThatAreNeverOpened(t *testing.T) {
	root := t.TempDir()
	outside := t.TempDir()
	makeTree(t, outside, "secret/x")
	makeTree(t, root, "d/a", "d/up->..", "self->self", "out->"+outside, "root->/", "d/long->"+strings.Repeat("x/", 500))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o640))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer func() { _ = unix.Close(fd) }()
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(root, "socket")}))
	m := newModel(t)
	m.scan(root)
	if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
		t.Errorf("rows differ from the folder: %s", diff)
	}
	got := m.paths()
	if got["fifo"].kind != index.KindOther || got["socket"].kind != index.KindOther || got["d/long"].size != 1000 ||
		got["out"].kind != index.KindSymlink {
		t.Errorf("rows %+v", got)
	}
	// A folder that becomes a link between being seen and being opened isn't followed.
	makeTree(t, root, "trap/x")
	swap := &faults{onOpen: func(rel string) error {
		if rel != "trap" {
			return nil
		}
		return errors.Join(os.RemoveAll(filepath.Join(root, rel)), os.Symlink(outside, filepath.Join(root, rel)))
	}}
	_, res := m.scan(root, swap.with)
	if res.UnreadableTotal != 1 || m.id("trap/secret") != 0 {
		t.Errorf("followed a link: %v, %+v", m.paths(), res)
	}
}

func TestNoPermission(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "d/a", "z")
	m := newModel(t)
	m.scan(root)
	must(t, os.Chmod(filepath.Join(root, "d"), 0))
	t.Cleanup(func() { must(t, os.Chmod(filepath.Join(root, "d"), 0o700)) })
	if _, err := os.ReadDir(filepath.Join(root, "d")); err == nil {
		t.Skip("this user may read everything; TestErrorIsNoDeletion has the same with a made-up error")
	}
	_, res := m.scan(root)
	if res.UnreadableTotal != 1 || !errors.Is(res.Unreadable[0].Err, fs.ErrPermission) || m.id("d/a") == 0 {
		t.Errorf("result %+v", res)
	}
}

// Paths longer than the kernel takes in one call are walked on Linux, and told elsewhere.
func TestPathTooLongForTheKernel(t *testing.T) {
	root := t.TempDir()
	at, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	name := strings.Repeat("n", 200)
	const levels = 50 // 10,000 bytes
	for range levels {
		must(t, unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		_ = unix.Close(at)
		at = next
	}
	_ = unix.Close(at)
	m := newModel(t)
	_, res := m.scan(root)
	if res.UnreadableTotal == 0 && res.Folders != levels+1 ||
		res.UnreadableTotal != 0 && !errors.Is(res.Unreadable[0].Err, unix.ENAMETOOLONG) {
		t.Errorf("%d folders, unreadable %d", res.Folders, res.UnreadableTotal)
	}
	if puts, res := m.scan(root); len(puts) != 0 || len(res.Missing) != 0 {
		t.Errorf("second scan: %d puts, missing %v", len(puts), res.Missing)
	}
}

func TestFarTimes(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "late", "early")
	for name, sec := range map[string]int64{"late": 1 << 33, "early": -1 << 31} {
		when := time.Unix(sec, 999_999_999)
		must(t, os.Chtimes(filepath.Join(root, name), when, when))
	}
	m := newModel(t)
	m.scan(root)
	for _, name := range []string{"late", "early"} {
		info, err := os.Lstat(filepath.Join(root, name))
		must(t, err)
		want := index.SaturatingNanos(info.ModTime().Unix(), int64(info.ModTime().Nanosecond()))
		if e := m.rows[m.id(name)]; e.MTime != want {
			t.Errorf("%s: %v, want %v", name, e.ModTime(), time.Unix(0, want))
		}
	}
	if puts, _ := m.scan(root); len(puts) != 0 {
		t.Errorf("second scan: %+v", puts)
	}
}
