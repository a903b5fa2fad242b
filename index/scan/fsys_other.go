//go:build !unix

package scan

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peerdex/peerdex/index"
)

// osFS is the portable way, through package os. It knows no filesystem boundaries: mount points are no folders to it.
type osFS struct{ path string }

func newFS(path string) (fsys, inode, error) {
	ino, err := lstatPath(path)
	return osFS{path}, ino, err
}

func (o osFS) close() {}

func (o osFS) root() (inode, error) { return lstatPath(o.path) }

func lstatPath(path string) (inode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return inode{}, err
	}
	return infoInode(info), nil
}

func (o osFS) open(rel string) (folder, error) {
	path := filepath.Join(o.path, filepath.FromSlash(rel))
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &osFolder{file: file, path: path}, nil
}

type osFolder struct {
	file    *os.File
	path    string
	entries []fs.DirEntry
	last    fs.DirEntry // returned by next last
	err     error       // to return when entries is used up
	name    []byte
}

func (f *osFolder) close() { f.file.Close() }

func (f *osFolder) next() ([]byte, error) {
	for len(f.entries) == 0 {
		if f.err != nil {
			return nil, f.err
		}
		f.entries, f.err = f.file.ReadDir(512)
		if f.err == nil && len(f.entries) == 0 {
			f.err = io.EOF
		}
	}
	f.last, f.entries = f.entries[0], f.entries[1:]
	f.name = append(f.name[:0], f.last.Name()...)
	return f.name, nil
}

func (f *osFolder) lstat(name []byte) (inode, error) {
	if f.last != nil && f.last.Name() == string(name) {
		info, err := f.last.Info()
		if err != nil {
			return inode{}, err
		}
		return infoInode(info), nil
	}
	return lstatPath(filepath.Join(f.path, string(name)))
}

func infoInode(info fs.FileInfo) inode {
	t := info.ModTime()
	i := inode{mode: modeBits(info.Mode()), mtime: index.SaturatingNanos(t.Unix(), int64(t.Nanosecond()))}
	kind := index.KindOther
	switch info.Mode().Type() {
	case 0:
		kind = index.KindFile
	case fs.ModeDir:
		kind = index.KindDir
	case fs.ModeSymlink:
		kind = index.KindSymlink
	}
	i.set(kind, info.Size())
	return i
}

func modeBits(m fs.FileMode) uint16 {
	b := uint16(m.Perm())
	for bit, v := range map[fs.FileMode]uint16{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			b |= v
		}
	}
	return b
}
