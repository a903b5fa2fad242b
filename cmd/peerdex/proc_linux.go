package main

import (
	"bytes"
	"os"
	"strconv"
)

// defunct reports whether a process has ended and only waits for its parent to notice: in a container there may be
// nobody who does.
func defunct(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	return i >= 0 && len(b) > i+2 && b[i+2] == 'Z'
}
