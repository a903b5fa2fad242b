// Package harness has what the tests of several packages share.
package harness

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakWait is how long goroutines may take to end after the last test. On a busy machine, connections that were
// closed in order take their time.
const leakWait = 20 * time.Second

// Main runs a package's tests and then waits for all their goroutines to end. It returns the code to exit with, which
// says failure if some never do.
func Main(m *testing.M) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	var err error
	for deadline := time.Now().Add(leakWait); time.Now().Before(deadline); {
		if err = goleak.Find(); err == nil {
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "goroutines that never end:", err)
	return 1
}
