//go:build unix

package scan

import (
	"golang.org/x/sys/unix"

	"github.com/peerdex/peerdex/index"
)

func kindOf(mode uint32) index.Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return index.KindFile
	case unix.S_IFDIR:
		return index.KindDir
	case unix.S_IFLNK:
		return index.KindSymlink
	}
	return index.KindOther
}

func statInode(st *unix.Stat_t) inode {
	i := inode{
		mode:  uint16(st.Mode & 0o7777),
		mtime: index.SaturatingNanos(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)),
		dev:   uint64(st.Dev),
		ino:   uint64(st.Ino),
	}
	i.set(kindOf(uint32(st.Mode)), st.Size)
	return i
}
