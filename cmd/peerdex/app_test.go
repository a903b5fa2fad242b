package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

func TestExitCodes(t *testing.T) {
	for code, want := range map[api.Code]int{
		api.CodeNotFound: 1, api.CodeUsage: 2, api.CodeConflict: 2, api.CodeFailed: 3, api.CodeUnavailable: 3, api.CodeNoDaemon: 4,
		api.CodeRunning: 5, api.CodeDenied: 6, "of_a_later_version": 3,
	} {
		err := fmt.Errorf("step: %w", &api.Error{Code: code})
		if got := exitCode(err); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
		if got := exitCode(reported(err)); got != want {
			t.Errorf("%s reported: %d, want %d", code, got, want)
		}
		if !strings.Contains(exitCodesHelp, fmt.Sprintf("%5d  ", want)) {
			t.Errorf("exit code %d is not documented", want)
		}
	}
	if got := exitCode(errors.New("x")); got != 3 {
		t.Errorf("an error without a kind: %d", got)
	}
}

func TestPrintError(t *testing.T) {
	e := &api.Error{Code: api.CodeFailed, Title: "laptop\nis away", Detail: "no \x1b[31mroute", Hint: "peerdex status"}
	for _, tc := range []struct {
		json bool
		want string
	}{
		{false, "error: laptop is away\n  no �[31mroute\n  try: peerdex status\n"},
		{true, `{"v":1,"kind":"error","data":{"code":"failed","title":"laptop\nis away","detail":"no \u001b[31mroute","hint":"peerdex status"}}` + "\n"},
	} {
		a := testApp("", nil)
		a.flags.json = tc.json
		a.printError(fmt.Errorf("step: %w", e))
		if d := cmp.Diff(tc.want, a.err.(*strings.Builder).String()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestColours(t *testing.T) {
	for _, tc := range []struct {
		flag string
		env  map[string]string
		tty  bool
		want bool
	}{
		{"auto", nil, true, true},
		{"auto", nil, false, false},
		{"auto", map[string]string{"NO_COLOR": "1"}, true, false},
		{"auto", map[string]string{"TERM": "dumb"}, true, false},
		{"always", map[string]string{"NO_COLOR": "1"}, false, true},
		{"never", nil, true, false},
	} {
		a := testApp("", tc.env)
		a.flags.color = tc.flag
		if got := a.paint(red, "x", tc.tty) != "x"; got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// TestChildFailure reads the error of a daemon that ended from the end of its log.
func TestChildFailure(t *testing.T) {
	for _, tc := range []struct {
		name, log string
		before    int // bytes of the log that were there before
		exit      int
		want      api.Error
	}{
		{"of ours", "time=1 level=INFO msg=x\nerror: data is locked\n  by process 7\n  try: peerdex down\n", 0, 5,
			api.Error{Code: api.CodeRunning, Title: "data is locked", Detail: "by process 7", Hint: "peerdex down"}},
		{"alone", "error: no space\n", 0, 3, api.Error{Code: api.CodeFailed, Title: "no space", Hint: "look at LOG"}},
		{"of an earlier one", "error: old\n", 11, 2, api.Error{Code: api.CodeUsage, Title: "the daemon ended while it started", Hint: "look at LOG"}},
		{"a crash", "panic: x\ngoroutine 1", 0, 3, api.Error{Code: api.CodeFailed, Title: "the daemon ended while it started", Hint: "look at LOG"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(log, []byte(tc.log), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", fmt.Sprintf("exit %d", tc.exit))
			if err := cmd.Run(); err == nil {
				t.Fatal("it worked")
			}
			tc.want.Hint = strings.ReplaceAll(tc.want.Hint, "LOG", log)
			err := (&child{cmd: cmd, log: log, from: int64(tc.before)}).failure()
			if d := cmp.Diff(&tc.want, api.AsError(err)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestFooter checks what a search says about the age of its answer.
func TestFooter(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.Local)
	laptop := api.Device{ID: index.DeviceID{1}, Name: "laptop", Short: "A", Self: true}
	nas := api.Device{ID: index.DeviceID{2}, Name: "nas", Short: "B", Connected: true}
	phone := api.Device{ID: index.DeviceID{3}, Name: "phone", Short: "C"}
	st := api.Status{
		Device: laptop, Devices: []api.Device{nas, phone}, Running: true,
		Locations: []api.Location{
			{Owner: laptop.ID, Name: "docs", State: api.StateCurrent, AsOf: now},
			{Owner: nas.ID, Name: "photos", State: api.StateCurrent, AsOf: now.Add(-time.Minute)},
			{Owner: nas.ID, Name: "films", State: api.StateAway, AsOf: now.Add(-3 * time.Hour)},
			{Owner: nas.ID, Name: "gone", State: api.StateRetired},
		},
	}
	for _, tc := range []struct {
		name    string
		q       api.Query
		running bool
		want    string
	}{
		{"all", api.Query{Text: "x"}, true,
			"nothing found · 6 ms · laptop as of now · nas as of 3 h ago (12:00)\nnote: nas: films: volume away\n"},
		{"on one", api.Query{Text: "x on:LAP*"}, true, "nothing found · 6 ms · laptop as of now\n"},
		{"on one by flag, without the daemon", api.Query{Text: "x", On: []string{"nas"}}, false,
			"nothing found · 6 ms · nas OFFLINE, as of 3 h ago (12:00)\nnote: nas: films: volume away\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := testApp("", nil)
			a.now = func() time.Time { return now }
			st.Running = tc.running
			s := summary{Elapsed: int64(6 * time.Millisecond), Complete: true, Devices: searched(&st, tc.q, now)}
			a.newHitPrinter(hitFlags{}, fullPath).finish(&s)
			if d := cmp.Diff(tc.want, a.err.(*strings.Builder).String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestHitPrinter prints the same hits in every form.
func TestHitPrinter(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	hits := []api.Hit{
		{Device: "nas", Path: "/a/two\nlines", Kind: index.KindFile, Size: 12, Modified: now, Mode: 0o600},
		{Device: "nas", Path: "/a/caf\xe9", Kind: index.KindDir, Modified: now, Mode: 0o755},
	}
	date := dated(now, now)
	for _, tc := range []struct {
		name string
		tty  bool
		f    hitFlags
		want string
	}{
		{"pipe", false, hitFlags{}, "nas:/a/two\nlines\nnas:/a/caf\xe9\n"},
		{"terminal", true, hitFlags{}, "   12 B  " + date + `  "nas:/a/two\nlines"` + "\n      -  " + date + `  "nas:/a/caf\xe9/"` + "\n"},
		{"long", false, hitFlags{long: true}, "-0600     12 B  " + date + `  "nas:/a/two\nlines"` + "\nd0755        -  " + date + `  "nas:/a/caf\xe9/"` + "\n"},
		{"zero", true, hitFlags{zero: true}, "nas:/a/two\nlines\x00nas:/a/caf\xe9\x00"},
		{"count", true, hitFlags{count: true}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := testApp("", nil)
			a.now, a.outTTY = func() time.Time { return now }, tc.tty
			p := a.newHitPrinter(tc.f, fullPath)
			err := p.printAll(func(yield func(api.Hit, error) bool) {
				for _, h := range hits {
					if !yield(h, nil) {
						return
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, a.out.(*strings.Builder).String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if p.total() != 2 {
				t.Errorf("counted %d", p.total())
			}
		})
	}
}

func TestUpHandsFlagsOn(t *testing.T) {
	a := testApp("/d", nil)
	got := a.serveArgs(daemonFlags{name: "nas", reach: "loopback", peers: []string{"/p"}, listen: []string{"/l"}})
	want := []string{"serve", "--dir", "/d", "--name", "nas", "--reach", "loopback", "--peer", "/p", "--listen", "/l"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
