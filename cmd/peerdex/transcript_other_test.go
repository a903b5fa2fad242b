//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// cmdTranscript needs a terminal, which the tests can make on Linux only.
func cmdTranscript(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Logf("left out: no terminal here")
}
