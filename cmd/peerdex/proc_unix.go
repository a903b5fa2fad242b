//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// detached makes a child that outlives this terminal: a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// shielded makes a child that a Ctrl-C at this terminal does not reach.
func shielded() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// alive reports whether a process is there. One that has ended and that nobody has waited for counts as gone.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	return !defunct(pid)
}

// ownedByUs reports whether a file belongs to the user of this process.
func ownedByUs(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
