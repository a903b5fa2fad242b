package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// detached makes a child that outlives this console.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// shielded makes a child that a Ctrl-C at this console does not reach.
func shielded() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// alive reports whether a process is there.
func alive(pid int) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	event, err := windows.WaitForSingleObject(h, 0)
	return err == nil && event == uint32(windows.WAIT_TIMEOUT)
}

// ownedByUs relies on the user's folders being closed to others, as they are on Windows.
func ownedByUs(os.FileInfo) bool { return true }
