package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show on one screen how everything is",
		Long: `Show on one screen this device, the others, how old what is known of each is, and
what is under way. Without a daemon it shows what lies on disk. With -w it goes on
doing so until Ctrl-C; where no terminal is, it prints a line when something changes.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, release, err := a.reader(cmd.Context())
			if err != nil {
				return err
			}
			defer release()
			if watch {
				return a.watchStatus(cmd.Context(), r)
			}
			st, err := r.Status(cmd.Context())
			if err != nil {
				return err
			}
			a.answer("status", st, func() { a.printStatus(&st) })
			return nil
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it")
	return c
}

func (a *app) printStatus(st *api.Status) {
	rows := make([]table.Row, 0, len(st.Devices)+1)
	for _, d := range allDevices(st) {
		var locations, entries int64
		for i := range st.Locations {
			if st.Locations[i].Owner == d.ID {
				locations++
				entries += st.Locations[i].Entries
			}
		}
		rows = append(rows, table.Row{quote(d.Name), a.deviceState(&d, st.Running), number(locations), number(entries), a.deviceAsOf(st, &d), a.lastSeen(&d)})
	}
	a.say("%s", renderTable(table.Row{"device", "state", "locations", "entries", "as of", "last seen"}, rows, 3, 4))
	a.say("")
	for i := range st.Transfers {
		a.say("doing   %s: %s%s", barTitle(&st.Transfers[i]), doneOf(&st.Transfers[i]), paceOf(&st.Transfers[i]))
	}
	a.say("daemon  %s", daemonLine(st))
	if a.flags.verbose {
		for _, addr := range st.Addresses {
			a.say("listens %s", addr)
		}
		a.say("traffic %s in, %s out", size(st.Traffic.BytesIn), size(st.Traffic.BytesOut))
	}
	if line := a.checkedLine(st.Locations); line != "" {
		a.say("checked %s", line)
	}
	notes := statusNotes(st, a.flags.verbose)
	if len(notes) == 0 {
		a.say("health  all is well")
	}
	for _, n := range notes {
		a.say("health  %s", n)
	}
}

// checkedLine says of how many files all was read and found good, and when last; "" if this device holds none.
func (a *app) checkedLine(locations []api.Location) string {
	var held, good int64
	var last time.Time
	for i := range locations {
		l := &locations[i]
		if l.Seq == 0 && l.State != api.StateQuarantined && l.State != api.StateLost {
			continue // nothing received yet
		}
		if held++; l.Checked.IsZero() {
			continue
		}
		if good++; l.Checked.After(last) {
			last = l.Checked
		}
	}
	switch {
	case held == 0:
		return ""
	case good == 0:
		return "nothing yet; every location is read through once a week (now: peerdex check --deep)"
	}
	return fmt.Sprintf("%s of %s and found good, last %s", number(good), count(held, "location"), asOf(last, a.now()))
}

func daemonLine(st *api.Status) string {
	if !st.Running {
		return "not running; this is what lies on disk (peerdex up)"
	}
	s := fmt.Sprintf("running, pid %d, version %s, reach %s", st.PID, st.Version, st.Reach)
	if st.Process.PeakRSSBytes > 0 {
		s += ", memory " + size(st.Process.PeakRSSBytes) + " at most"
	}
	return s
}

// statusNotes is what a user should know: what the node says, and what is still to come. That a device is off is
// nothing unusual; why it can't be reached is told by `peerdex devices`, and here when verbose.
func statusNotes(st *api.Status, verbose bool) []string {
	var notes []string
	for _, n := range st.Notes {
		notes = append(notes, oneLine(n))
	}
	for i := range st.Locations {
		l := &st.Locations[i]
		if l.State != api.StateNever && l.State != api.StateBehind && l.State != api.StateArchived {
			continue // the node's own notes have the others
		}
		for _, n := range locationNotes(l) {
			notes = append(notes, quote(l.Device)+": "+quote(l.Name)+": "+n)
		}
	}
	for i := range st.Devices {
		if d := &st.Devices[i]; verbose && !d.Connected && d.LastError != "" {
			notes = append(notes, quote(d.Name)+" is not reached: "+oneLine(d.LastError))
		}
	}
	return notes
}

func (a *app) pathsCommand() *cobra.Command {
	names := []string{"config", "data", "log", "socket"}
	return &cobra.Command{
		Use:       "paths [config|data|log|socket]",
		Short:     "Show where everything is kept",
		Args:      cobra.MatchAll(atMost(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.paths()
			if err != nil {
				return err
			}
			values := []string{p.Config, p.Data, p.Log, p.Socket}
			a.answer("paths", p, func() {
				for i, n := range names {
					switch {
					case len(args) == 0:
						a.say("%-7s %s", n, quote(values[i]))
					case args[0] == n:
						a.say("%s", values[i])
					}
				}
			})
			return nil
		},
	}
}

// versionData is what version prints with --json.
type versionData struct {
	Version string `json:"version"`
	API     int    `json:"api"`
	Go      string `json:"go"`
	System  string `json:"system"`
	LibP2P  string `json:"libp2p,omitempty"`
	SQLite  string `json:"sqlite,omitempty"` // version of the driver, which brings SQLite along
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  atMost(0),
		RunE: func(*cobra.Command, []string) error {
			v := versionData{Version: buildVersion(), API: api.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					switch m.Path {
					case "github.com/libp2p/go-libp2p":
						v.LibP2P = m.Version
					case "github.com/mattn/go-sqlite3":
						v.SQLite = m.Version
					}
				}
			}
			a.answer("version", v, func() {
				parts := []string{v.Go, v.System}
				if v.LibP2P != "" {
					parts = append(parts, "go-libp2p "+v.LibP2P)
				}
				if v.SQLite != "" {
					parts = append(parts, "go-sqlite3 "+v.SQLite)
				}
				a.say("peerdex %s (%s)", v.Version, strings.Join(parts, ", "))
			})
			return nil
		},
	}
}

// buildVersion is the version set when the release was built, else the one Go knows of the module.
func buildVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
