package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/peerdex/peerdex/node/api"
)

// envelope wraps every object that --json prints, one a line. V rises when data of an existing kind changes in a way
// that programs could stumble over; new kinds and new fields do not count.
type envelope struct {
	V    int    `json:"v"`
	Kind string `json:"kind"`
	Data any    `json:"data"`
}

// printJSON prints one line.
func (a *app) printJSON(w io.Writer, kind string, data any) {
	b, err := json.Marshal(envelope{api.Version, kind, data})
	if err != nil { // a time outside of the years JSON can say, at most
		fmt.Fprintf(a.err, "error: encode %s: %v\n", kind, err)
		return
	}
	_, _ = w.Write(append(b, '\n'))
}

// answer prints the answer of a command: as JSON when asked for, else as print does.
func (a *app) answer(kind string, data any, print func()) {
	if a.flags.json {
		a.printJSON(a.out, kind, data)
		return
	}
	print()
}

// summary is the last line of find and ls: how much there was, and how old each device's part of the answer is.
type summary struct {
	Count    int64        `json:"count"`
	Elapsed  int64        `json:"elapsed"` // ns
	Devices  []deviceAsOf `json:"devices"`
	Complete bool         `json:"complete"`          // false: cut by --limit, or see Missing
	Missing  string       `json:"missing,omitempty"` // what could not be searched, and why
	Limited  bool         `json:"-"`                 // cut by --limit
}

type deviceAsOf struct {
	Device    string    `json:"device"`
	Connected bool      `json:"connected"` // true for this device itself
	AsOf      time.Time `json:"as_of,omitzero"`
	Notes     []string  `json:"notes,omitempty"`
}
