package main

import (
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/node/api"
)

func TestSetLimit(t *testing.T) {
	for _, c := range []struct {
		flags    string
		up, down int64
		ok       bool
	}{
		{"1MB/s", 1e6, 1e6, true},
		{"1MB", 1e6, 1e6, true},
		{"1MiB/s", 1 << 20, 1 << 20, true},
		{"up=500kB/s", 500e3, 7, true},
		{"down=2MB/s", 7, 2e6, true},
		{"1MB/s down=none", 1e6, 0, true},
		{"none", 0, 0, true},
		{"32kB/s", 32 << 10, 32 << 10, true}, // the least, said as people say it
		{"31kB/s", 7, 7, false},
		{"up=", 7, 7, false},
		{"sideways=1MB/s", 7, 7, false},
		{"=1MB/s", 7, 7, false},
		{"fast", 7, 7, false},
		{"-1MB/s", 7, 7, false},
		{"99999999PB/s", 7, 7, false},
	} {
		s := settings{limitUp: 7, limitDown: 7}
		var err error
		for _, f := range strings.Fields(c.flags) {
			err = s.setLimit(f)
		}
		if (err == nil) != c.ok || s.limitUp != c.up || s.limitDown != c.down {
			t.Errorf("%s: up %d, down %d, %v", c.flags, s.limitUp, s.limitDown, err)
		}
		if err != nil && api.AsError(err).Code != api.CodeUsage {
			t.Errorf("%s: %v", c.flags, err)
		}
	}
}

func TestPaceAndState(t *testing.T) {
	fetch := api.Progress{Phase: api.PhaseFetch, DoneEntries: 430, TotalEntries: 1000, EntriesPerSecond: 2000, ETA: 3 * time.Second}
	snap := api.Progress{Phase: api.PhaseFetch, Strategy: api.StrategyCompact, DoneBytes: 5e5, TotalBytes: 1e6, BytesPerSecond: 2e6, EntriesPerSecond: 9}
	for want, p := range map[string]api.Progress{
		", 43 %, 2,000 entries/s, 3.0 s left": fetch,
		", 50 %, 2.0 MB/s":                    snap,
		"":                                    {DoneEntries: 5},
	} {
		if got := paceOf(&p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, l := range map[string]api.Location{
		"syncing 43 %":      {State: api.StateSyncing, Transfer: &fetch},
		"syncing":           {State: api.StateSyncing},
		"behind by 1,234":   {State: api.StateBehind, Behind: 1234},
		"behind":            {State: api.StateBehind},
		"never synced":      {State: api.StateNever},
		"never scanned":     {State: api.StateNever, Own: true},
		"frozen: two heads": {State: api.StateFrozen},
		"current":           {State: api.StateCurrent, Own: true},
		"current, verified": {State: api.StateCurrent},
		"owner away":        {State: api.StateOwnerAway},
		"same as here":      {State: api.StateSame},
		"volume away":       {State: api.StateAway, Own: true},
	} {
		if got := stateOf(&l); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
