package scan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/peerdex/peerdex/index"
)

const (
	// direntBuf holds several hundred entries, so that most folders take one system call and the one that says "end".
	direntBuf = 64 << 10
	// maxOpenPath is below the kernel's limit of 4,096 bytes; longer paths are opened in steps.
	maxOpenPath = 4000

	openFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	stepFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	statMask  = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_SIZE | unix.STATX_MTIME | unix.STATX_INO
)

// linuxFS uses the system calls directly: package os would stat by full path, and allocate several times an entry.
type linuxFS struct {
	path    string
	fd      int
	dev     uint64
	openat2 bool        // the kernel has it: no link is followed anywhere in a path, at no cost
	noStatx atomic.Bool // the kernel, or a sandbox, refuses statx
	folders sync.Pool   // of *linuxFolder
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
	f := &linuxFS{path: path, fd: fd, dev: uint64(st.Dev)}
	f.folders.New = func() any { return &linuxFolder{fs: f, buf: make([]byte, direntBuf)} }
	how := unix.OpenHow{Flags: stepFlags, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if probe, err := unix.Openat2(fd, ".", &how); err == nil {
		_ = unix.Close(probe)
		f.openat2 = true
	}
	return f, statInode(&st), nil
}

func (l *linuxFS) close() { _ = unix.Close(l.fd) }

func (l *linuxFS) root() (inode, error) { return lstatPath(l.path) }

func lstatPath(path string) (inode, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Lstat(path, &st) })
	if err != nil {
		return inode{}, err
	}
	return statInode(&st), nil
}

func (l *linuxFS) open(rel string) (folder, error) {
	at, check := l.fd, !l.openat2
	defer func() {
		if at != l.fd {
			_ = unix.Close(at)
		}
	}()
	for len(rel) > maxOpenPath {
		cut := strings.LastIndexByte(rel[:maxOpenPath], '/')
		next, err := l.openAt(at, rel[:cut], stepFlags, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return nil, err
		}
		if at != l.fd {
			_ = unix.Close(at)
		}
		at, rel, check = next, rel[cut+1:], true
	}
	if rel == "" {
		rel = "."
	}
	fd, err := l.openAt(at, rel, openFlags, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.EXDEV) {
		// Some mount lies on the way. It may be another part of the same filesystem, which is walked.
		check = true
		fd, err = l.openAt(at, rel, openFlags, unix.RESOLVE_NO_SYMLINKS)
	}
	if err != nil {
		return nil, err
	}
	if check {
		if err := l.checkDevice(fd); err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	}
	f := l.folders.Get().(*linuxFolder)
	f.fd, f.rest = fd, nil
	return f, nil
}

func (l *linuxFS) openAt(at int, rel string, flags, resolve uint64) (int, error) {
	return retry(func() (int, error) {
		if l.openat2 {
			return unix.Openat2(at, rel, &unix.OpenHow{Flags: flags, Resolve: resolve})
		}
		return unix.Openat(at, rel, int(flags), 0)
	})
}

// checkDevice catches what was mounted after the folder was seen.
func (l *linuxFS) checkDevice(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if uint64(st.Dev) != l.dev {
		return ErrOtherFilesystem
	}
	return nil
}

type linuxFolder struct {
	fs   *linuxFS
	fd   int
	buf  []byte
	rest []byte // of buf: entries not returned yet
	name [index.MaxNameLen + 1]byte
	stx  unix.Statx_t
}

func (f *linuxFolder) close() {
	_ = unix.Close(f.fd)
	f.fs.folders.Put(f)
}

// Layout of struct linux_dirent64: inode u64, offset s64, record length u16, type u8, name up to a NUL.
const (
	direntLen  = 16
	direntName = 19
)

func (f *linuxFolder) next() ([]byte, error) {
	for {
		if len(f.rest) == 0 {
			n, err := retry(func() (int, error) { return unix.Getdents(f.fd, f.buf) })
			if err != nil {
				return nil, err
			}
			if n <= 0 {
				return nil, io.EOF
			}
			f.rest = f.buf[:n]
		}
		if len(f.rest) < direntName {
			return nil, io.ErrUnexpectedEOF
		}
		size := int(binary.NativeEndian.Uint16(f.rest[direntLen:]))
		if size < direntName || size > len(f.rest) {
			return nil, io.ErrUnexpectedEOF
		}
		name := f.rest[direntName:size]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		f.rest = f.rest[size:]
		if string(name) != "." && string(name) != ".." {
			return name, nil
		}
	}
}

func (f *linuxFolder) lstat(name []byte) (inode, error) {
	if len(name) >= len(f.name) {
		return inode{}, unix.ENAMETOOLONG
	}
	if f.fs.noStatx.Load() {
		return f.fstatat(name)
	}
	f.name[copy(f.name[:], name)] = 0
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(f.fd), uintptr(unsafe.Pointer(&f.name[0])),
			unix.AT_SYMLINK_NOFOLLOW, statMask, uintptr(unsafe.Pointer(&f.stx)), 0)
		switch errno {
		case 0:
			return f.statxInode(), nil
		case unix.EINTR:
			continue
		case unix.ENOSYS, unix.EPERM:
			// Kernels before 4.11, and sandboxes of that time.
			ino, err := f.fstatat(name)
			if err == nil {
				f.fs.noStatx.Store(true)
			}
			return ino, err
		}
		return inode{}, errno
	}
}

func (f *linuxFolder) fstatat(name []byte) (inode, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(f.fd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return inode{}, err
	}
	return statInode(&st), nil
}

func (f *linuxFolder) statxInode() inode {
	s := &f.stx
	i := inode{
		mode:  s.Mode & 0o7777,
		mtime: index.SaturatingNanos(s.Mtime.Sec, int64(s.Mtime.Nsec)),
		dev:   unix.Mkdev(s.Dev_major, s.Dev_minor),
		ino:   s.Ino,
	}
	i.set(kindOf(uint32(s.Mode)), int64(min(s.Size, math.MaxInt64)))
	return i
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err == nil || !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
