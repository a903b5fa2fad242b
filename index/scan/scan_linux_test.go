package scan

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mount mounts for one test, or skips it where that isn't allowed.
func mount(t *testing.T, source, target, fstype string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	unmountAtEnd(t, target)
}

func unmountAtEnd(t *testing.T, target string) {
	t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
}

func TestRealMount(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/known", "a/mnt/x/y", "fresh/")
	m := newModel(t)
	m.scan(root)
	mount(t, "tmpfs", filepath.Join(root, "a/mnt"), "tmpfs", 0)
	mount(t, "tmpfs", filepath.Join(root, "fresh"), "tmpfs", 0)
	makeTree(t, root, "a/mnt/other", "fresh/other")
	_, res := m.scan(root)
	if res.UnreadableTotal != 1 || !errors.Is(res.Unreadable[0].Err, ErrOtherFilesystem) ||
		res.Unreadable[0].Path != "a/mnt" || len(res.Missing) != 0 {
		t.Errorf("result %+v, want a/mnt as other filesystem", res)
	}
	if m.id("a/mnt/x/y") == 0 || m.id("a/mnt/other") != 0 || m.id("fresh/other") != 0 {
		t.Errorf("rows %v", m.paths())
	}
	if puts, _ := m.scan(root); len(puts) != 0 {
		t.Errorf("second scan: %+v", puts)
	}
}

// What is mounted after it was seen as a plain folder isn't entered either.
func TestMountDuringScan(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/mnt/x/y")
	m := newModel(t)
	m.scan(root)
	mount(t, "tmpfs", t.TempDir(), "tmpfs", 0) // a hook must not skip: it may run on another goroutine
	f := &faults{onOpen: func(rel string) error {
		if rel != "a/mnt" {
			return nil
		}
		path := filepath.Join(root, rel)
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, ""); err != nil {
			return err
		}
		unmountAtEnd(t, path)
		return os.WriteFile(filepath.Join(path, "other"), nil, 0o644)
	}}
	_, res := m.scan(root, f.with)
	if res.UnreadableTotal != 1 || !errors.Is(res.Unreadable[0].Err, ErrOtherFilesystem) || m.id("a/mnt/other") != 0 {
		t.Errorf("result %+v", res)
	}
}

// Another part of the same filesystem, mounted inside, belongs to it.
func TestBindMount(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/mnt/", "from/x/y/z")
	mount(t, filepath.Join(root, "from"), filepath.Join(root, "a/mnt"), "", unix.MS_BIND)
	m := newModel(t)
	_, res := m.scan(root)
	if m.id("a/mnt/x/y/z") == 0 || res.UnreadableTotal != 0 {
		t.Errorf("rows %v, unreadable %v", m.paths(), res.Unreadable)
	}
}

// Old kernels lack openat2 and statx; the rows must be the same.
func TestOldKernel(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/x", "b/c/d", "l->a", "b/e/")
	m := newModel(t)
	puts, _ := m.scan(root, func(s *Scan) {
		s.openFS = func(path string) (fsys, inode, error) {
			f, ino, err := openFS(path)
			if err == nil {
				f.(*linuxFS).openat2 = false
				f.(*linuxFS).noStatx.Store(true)
			}
			return f, ino, err
		}
	})
	if len(puts) != 8 {
		t.Errorf("%d rows, want 8", len(puts))
	}
	if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
		t.Errorf("rows differ from the folder: %s", diff)
	}
	if puts, _ := m.scan(root); len(puts) != 0 {
		t.Errorf("the new way sees %+v", puts)
	}
}

// A filesystem in user space may answer anything.
func TestBrokenDirents(t *testing.T) {
	for name, rest := range map[string][]byte{
		"short":        make([]byte, direntName-1),
		"length 0":     make([]byte, 64),
		"length 18":    append(make([]byte, direntLen), 18, 0, 0, 'a', 0, 0, 0, 0),
		"beyond":       append(make([]byte, direntLen), 255, 255, 0, 'a', 0, 0, 0, 0),
		"foreign-ends": append(make([]byte, direntLen), 0, 255, 0, 'a', 0, 0, 0, 0),
	} {
		f := &linuxFolder{rest: rest}
		if got, err := f.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
