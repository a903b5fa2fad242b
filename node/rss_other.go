//go:build !unix

package node

import "runtime"

// platform is the operating system as records name it.
const platform = runtime.GOOS

// peakRSS is not known here.
func peakRSS() int64 { return 0 }
