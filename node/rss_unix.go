//go:build unix

package node

import (
	"runtime"
	"syscall"
)

// platform is the operating system as records name it.
const platform = runtime.GOOS

// peakRSS is the most memory this process ever held, in bytes.
func peakRSS() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) * 1024
}
