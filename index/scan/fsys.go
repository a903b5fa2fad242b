package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"syscall"

	"github.com/peerdex/peerdex/index"
)

// fsys is one folder tree on a filesystem. It is safe for concurrent use.
type fsys interface {
	// root looks at the root's path anew, without following a link there.
	root() (inode, error)
	// open opens a folder of the root's filesystem by its path below the root; "" is the root. It follows no links,
	// and returns ErrOtherFilesystem for a folder of another filesystem.
	open(rel string) (folder, error)
	close()
}

// folder is an open folder. Only one goroutine uses it.
type folder interface {
	// next returns the next name, valid until the next call, or io.EOF. "." and ".." are left out.
	next() ([]byte, error)
	// lstat looks at the entry that next returned last, or at another one by its name.
	lstat(name []byte) (inode, error)
	close()
}

// inode is what is needed of a stat.
type inode struct {
	kind     index.Kind
	mode     uint16 // 07777
	size     int64  // 0 for folders and others
	mtime    int64
	dev, ino uint64 // both 0 where the system doesn't say
}

func (i inode) sameNode(o inode) bool { return i.dev == o.dev && i.ino == o.ino }

// set fills in what depends on the kind.
func (i *inode) set(kind index.Kind, size int64) {
	i.kind = kind
	if kind == index.KindFile || kind == index.KindSymlink {
		if size < 0 {
			size = math.MaxInt64
		}
		i.size = size
	}
}

// openFS opens the tree at an absolute path and returns the root's inode. Its errors are those of the scan.
func openFS(path string) (fsys, inode, error) {
	ino, err := lstatPath(path)
	switch {
	case err != nil:
		return nil, inode{}, rootError(err)
	case ino.kind != index.KindDir:
		return nil, inode{}, ErrRootNotFolder
	}
	f, ino, err := newFS(path)
	if err != nil {
		return nil, inode{}, rootError(err)
	}
	return f, ino, nil
}

// rootError says what an error about the root means.
func rootError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrRootMissing, err)
	}
	return fmt.Errorf("%w: %w", ErrRootUnreadable, err)
}
