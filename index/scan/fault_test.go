package scan

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// faults stands between the scanner and the real filesystem. A hook that is nil does nothing; hooks are called from
// several goroutines.
type faults struct {
	fsys
	onRoot  func() error
	onOpen  func(rel string) error
	onNext  func(rel string, done int) ([]byte, error) // instead of the next name, unless both are nil
	onLstat func(rel string, i *inode) error           // rel names the entry
}

// with makes a scan use the faults.
func (f *faults) with(s *Scan) {
	open := s.openFS
	s.openFS = func(root string) (fsys, inode, error) {
		real, ino, err := open(root)
		f.fsys = real
		return f, ino, err
	}
}

func (f *faults) root() (inode, error) {
	if f.onRoot != nil {
		if err := f.onRoot(); err != nil {
			return inode{}, err
		}
	}
	return f.fsys.root()
}

func (f *faults) open(rel string) (folder, error) {
	if f.onOpen != nil {
		if err := f.onOpen(rel); err != nil {
			return nil, err
		}
	}
	real, err := f.fsys.open(rel)
	if err != nil {
		return nil, err
	}
	return &faultyFolder{folder: real, f: f, rel: rel}, nil
}

type faultyFolder struct {
	folder
	f    *faults
	rel  string
	done int
}

func (d *faultyFolder) next() ([]byte, error) {
	if d.f.onNext != nil {
		if name, err := d.f.onNext(d.rel, d.done); name != nil || err != nil {
			d.done++
			return name, err
		}
	}
	d.done++
	return d.folder.next()
}

func (d *faultyFolder) lstat(name []byte) (inode, error) {
	i, err := d.folder.lstat(name)
	if err == nil && d.f.onLstat != nil {
		err = d.f.onLstat(string(appendName([]byte(d.rel), string(name))), &i)
	}
	return i, err
}

// on returns a hook that fails for one path.
func on(path string, err error) func(string) error {
	return func(rel string) error {
		if rel == path {
			return err
		}
		return nil
	}
}

func TestErrorIsNoDeletion(t *testing.T) {
	lstat := func(path string, err error) *faults {
		return &faults{onLstat: func(rel string, _ *inode) error { return on(path, err)(rel) }}
	}
	cut := func(path string, after int, err error) *faults {
		return &faults{onNext: func(rel string, done int) ([]byte, error) {
			if rel == path && done >= after {
				return nil, err
			}
			return nil, nil
		}}
	}
	tests := []struct {
		name   string
		faults *faults
		path   string
		err    error
	}{
		{"open EACCES", &faults{onOpen: on("d", syscall.EACCES)}, "d", fs.ErrPermission},
		{"open EIO", &faults{onOpen: on("d", syscall.EIO)}, "d", syscall.EIO},
		{"open ENAMETOOLONG", &faults{onOpen: on("d/e", syscall.ENAMETOOLONG)}, "d/e", syscall.ENAMETOOLONG},
		{"open ENOTDIR", &faults{onOpen: on("d/e", syscall.ENOTDIR)}, "d/e", syscall.ENOTDIR},
		{"open ELOOP", &faults{onOpen: on("d/e", syscall.ELOOP)}, "d/e", syscall.ELOOP},
		{"open ENOENT but there", &faults{onOpen: on("d/e", syscall.ENOENT)}, "d/e", syscall.ENOENT},
		{"lstat folder EIO", lstat("d", syscall.EIO), "d", syscall.EIO},
		{"lstat file EACCES", lstat("d/b", syscall.EACCES), "d/b", fs.ErrPermission},
		{"lstat link EIO", lstat("l", syscall.EIO), "l", syscall.EIO},
		{"listing cut at once", cut("d", 0, syscall.EIO), "d", syscall.EIO},
		{"listing cut later", cut("d", 2, syscall.EIO), "d", syscall.EIO},
		{"listing cut deep", cut("d/e", 1, syscall.EIO), "d/e", syscall.EIO},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			makeTree(t, root, "a", "d/a", "d/b", "d/c", "d/e/x", "d/e/y/z", "z/a", "l->a")
			m := newModel(t)
			m.scan(root)
			before := m.paths()
			puts, res := m.scan(root, tt.faults.with)
			if len(puts) != 0 || len(res.Missing) != 0 {
				t.Errorf("puts %+v, missing %+v, want none", puts, res.Missing)
			}
			if len(res.Unreadable) != 1 || res.UnreadableTotal != 1 || res.Unreadable[0].Path != tt.path ||
				!errors.Is(res.Unreadable[0].Err, tt.err) {
				t.Errorf("unreadable %+v, total %d, want %q: %v", res.Unreadable, res.UnreadableTotal, tt.path, tt.err)
			}
			if after := m.paths(); len(after) != len(before) {
				t.Errorf("%d rows, %d before", len(after), len(before))
			}
		})
	}
}

// What was read before a listing broke off counts; what was not read is neither missing nor changed.
func TestListingCutShort(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "d/a", "d/b", "d/c", "d/e/f")
	m := newModel(t)
	m.scan(root)
	makeTree(t, root, "d/new")
	must(t, os.Truncate(filepath.Join(root, "d/a"), 1))
	must(t, os.Remove(filepath.Join(root, "d/b")))
	names := []string{"a", "new", "e"}
	cut := &faults{onNext: func(rel string, done int) ([]byte, error) {
		if rel != "d" {
			return nil, nil
		}
		if done == len(names) {
			return nil, syscall.EIO
		}
		return []byte(names[done]), nil
	}}
	puts, res := m.scan(root, cut.with)
	var got []string
	for _, e := range puts {
		got = append(got, e.Name)
	}
	if want := []string{"d", "a", "new"}; !slices.Equal(got, want) {
		t.Errorf("puts %q, want %q", got, want)
	}
	if len(res.Missing) != 0 || res.UnreadableTotal != 1 {
		t.Errorf("result %+v", res)
	}
	if _, res = m.scan(root); len(res.Missing) != 1 {
		t.Errorf("then missing %+v, want d/b", res.Missing)
	}
}

// A folder may vanish after its own folder was listed. It's missing only if that is certain.
func TestFolderVanishes(t *testing.T) {
	tests := []struct {
		name    string
		known   bool
		remove  bool
		parent  error // when its own folder is opened a second time
		missing bool
	}{
		{"known", true, true, nil, true},
		{"new", false, true, nil, true},
		{"still there", true, false, nil, false},
		{"parent unreadable", true, true, syscall.EACCES, false},
		{"parent gone", true, true, syscall.ENOENT, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			makeTree(t, root, "p/a", "z")
			m := newModel(t)
			if tt.known {
				makeTree(t, root, "p/d/x/y")
			}
			m.scan(root)
			makeTree(t, root, "p/d/x/y")
			opened := 0
			f := &faults{onOpen: func(rel string) error {
				switch rel {
				case "p":
					if opened++; opened == 2 {
						return tt.parent
					}
				case "p/d":
					if tt.remove {
						return errors.Join(os.RemoveAll(filepath.Join(root, rel)), syscall.ENOENT)
					}
					return syscall.ENOENT
				}
				return nil
			}}
			_, res := m.scan(root, func(s *Scan) { s.cfg.Workers = 1 }, f.with)
			switch gone := m.id("p/d") == 0; {
			case gone != tt.missing:
				t.Errorf("gone: %v, want %v: %+v", gone, tt.missing, res)
			case tt.missing && (len(res.Missing) != 1 || res.UnreadableTotal != 0):
				t.Errorf("result %+v, want one missing", res)
			case !tt.missing && (len(res.Missing) != 0 || res.UnreadableTotal != 1 || res.Unreadable[0].Path != "p/d"):
				t.Errorf("result %+v, want one unreadable", res)
			}
		})
	}
}

// Some filesystems have names that the kernel passes on and that are longer than an entry's name may be.
func TestRefusedNames(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a", "b")
	long := make([]byte, index.MaxNameLen+1)
	for i := range long {
		long[i] = 'x'
	}
	f := &faults{onNext: func(_ string, done int) ([]byte, error) {
		switch done {
		case 0:
			return long, nil
		case 1:
			return []byte("a/b"), nil
		}
		return nil, nil
	}}
	m := newModel(t)
	puts, res := m.scan(root, f.with)
	if len(puts) != 3 || res.UnreadableTotal != 2 {
		t.Fatalf("%d puts, unreadable %+v; want root, a and b, and two refused", len(puts), res.Unreadable)
	}
	for _, u := range res.Unreadable {
		if !errors.Is(u.Err, index.ErrInvalid) {
			t.Errorf("%q: %v", u.Path, u.Err)
		}
	}
}

// A file that is gone between the reading of its name and the look at it is gone.
func TestFileVanishes(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a", "d/b", "d/c")
	m := newModel(t)
	m.scan(root)
	f := &faults{onLstat: func(rel string, _ *inode) error { return on("d/b", syscall.ENOENT)(rel) }}
	if _, res := m.scan(root, f.with); len(res.Missing) != 1 || m.id("d/b") != 0 || res.UnreadableTotal != 0 {
		t.Errorf("result %+v", res)
	}
}

// A name that a filesystem returns twice is one entry.
func TestNameTwice(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/x", "b")
	f := &faults{onNext: func(rel string, done int) ([]byte, error) {
		if rel == "" && done < 3 {
			return []byte{"aba"[done]}, nil
		}
		return nil, nil
	}}
	m := newModel(t)
	m.scan(root, f.with)
	if got := len(m.rows); got != 4 {
		t.Errorf("%d rows, want 4", got)
	}
}

func TestOtherFilesystem(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "known/x/y", "a")
	m := newModel(t)
	m.scan(root)
	before := m.paths()
	makeTree(t, root, "fresh/x")
	f := &faults{onLstat: func(rel string, i *inode) error {
		if rel == "known" || rel == "fresh" {
			i.dev++
		}
		return nil
	}}
	_, res := m.scan(root, f.with)
	if res.UnreadableTotal != 1 || res.Unreadable[0].Path != "known" ||
		!errors.Is(res.Unreadable[0].Err, ErrOtherFilesystem) || len(res.Missing) != 0 {
		t.Errorf("result %+v, want known as unreadable", res)
	}
	if after := m.paths(); len(after) != len(before)+1 || after["fresh"].kind != index.KindDir {
		t.Errorf("rows %v", after)
	}
}

func TestUnreadableIsCapped(t *testing.T) {
	root := t.TempDir()
	for i := range maxUnreadable + 20 {
		makeTree(t, root, string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}))
	}
	f := &faults{onLstat: func(string, *inode) error { return syscall.EIO }}
	_, res := newModel(t).scan(root, f.with)
	if len(res.Unreadable) != maxUnreadable || res.UnreadableTotal != maxUnreadable+20 {
		t.Errorf("%d listed of %d", len(res.Unreadable), res.UnreadableTotal)
	}
}
