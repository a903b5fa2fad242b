//go:build unix && !linux

package scan

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const openFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// unixFS opens folders relative to the root's descriptor.
type unixFS struct {
	path string
	fd   int
	dev  uint64
}

func newFS(path string) (fsys, inode, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, openFlags, 0) })
	if err != nil {
		return nil, inode{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, inode{}, err
	}
	return &unixFS{path: path, fd: fd, dev: uint64(st.Dev)}, statInode(&st), nil
}

func (u *unixFS) close() { _ = unix.Close(u.fd) }

func (u *unixFS) root() (inode, error) { return lstatPath(u.path) }

func lstatPath(path string) (inode, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Lstat(path, &st) })
	if err != nil {
		return inode{}, err
	}
	return statInode(&st), nil
}

func (u *unixFS) open(rel string) (folder, error) {
	if rel == "" {
		rel = "."
	}
	fd, err := retry(func() (int, error) { return unix.Openat(u.fd, rel, openFlags, 0) })
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if uint64(st.Dev) != u.dev {
		_ = unix.Close(fd)
		return nil, ErrOtherFilesystem
	}
	return &unixFolder{file: os.NewFile(uintptr(fd), rel), fd: fd}, nil
}

type unixFolder struct {
	file  *os.File
	fd    int
	names []string
	err   error // to return when names is used up
	name  []byte
}

func (f *unixFolder) close() { f.file.Close() }

func (f *unixFolder) next() ([]byte, error) {
	for len(f.names) == 0 {
		if f.err != nil {
			return nil, f.err
		}
		f.names, f.err = f.file.Readdirnames(512)
		if f.err == nil && len(f.names) == 0 {
			f.err = io.EOF
		}
	}
	f.name = append(f.name[:0], f.names[0]...)
	f.names = f.names[1:]
	return f.name, nil
}

func (f *unixFolder) lstat(name []byte) (inode, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(f.fd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return inode{}, err
	}
	return statInode(&st), nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err == nil || !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
