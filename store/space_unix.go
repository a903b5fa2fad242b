//go:build linux || darwin

package store

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that this user may still write on the disk of a folder; false if that is not known.
func freeSpace(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
