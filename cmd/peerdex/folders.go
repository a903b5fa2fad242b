package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

func (a *app) addCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "add FOLDER…",
		Short: "Index folders of this device",
		Long: `Index folders of this device and wait for their first scan. Each becomes a
location. Names, sizes and times are read, never contents.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if name != "" && len(args) > 1 {
				return usage(cmd, "--name is for one folder")
			}
			return atLeastOne(cmd, args, "folder")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.daemon(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			added, err := a.addFolders(cmd.Context(), d, args, name, false)
			if a.flags.json {
				a.printJSON(a.out, "add", orEmpty(added))
			}
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the location (default: the folder's own)")
	return c
}

// usage is an error about how a command was called.
func usage(cmd *cobra.Command, title string) error {
	return &api.Error{Code: api.CodeUsage, Title: title, Hint: cmd.CommandPath() + " --help"}
}

func atLeastOne(cmd *cobra.Command, args []string, what string) error {
	if len(args) == 0 || slices.Contains(args, "") {
		return usage(cmd, "which "+what+"?")
	}
	return nil
}

// addFolders adds folders as locations and waits until each was scanned once. With known, a folder that is a location
// already is fine. All are tried; errors are printed as they come, and the first decides the exit code.
func (a *app) addFolders(ctx context.Context, b api.Backend, folders []string, name string, known bool) ([]api.Location, error) {
	var added []api.Location
	var first error
	for _, folder := range folders {
		l, err := a.addFolder(ctx, b, folder, name, known)
		switch {
		case err == nil:
			added = append(added, l)
		case ctx.Err() != nil:
			return added, err
		default:
			a.printError(err)
			first = cmpErr(first, err)
		}
	}
	if len(added) > 0 {
		scanned, err := a.waitScanned(ctx, b, added)
		if err != nil {
			if ctx.Err() != nil {
				a.note("The daemon goes on with the scan: peerdex status")
			}
			return added, err
		}
		added = scanned
		for i := range added {
			a.sayLocation(&added[i])
		}
	}
	if first != nil {
		return added, reported(first)
	}
	return added, nil
}

func cmpErr(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

func (a *app) addFolder(ctx context.Context, b api.Backend, folder, name string, known bool) (api.Location, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return api.Location{}, err
	}
	if known {
		all, err := b.Locations(ctx)
		if err != nil {
			return api.Location{}, err
		}
		for _, l := range all {
			if l.Own && sameFolder(l.Root, abs) && l.State != api.StateRetired && l.State != api.StateArchived {
				return l, nil
			}
		}
	}
	return b.AddLocation(ctx, api.AddRequest{Path: abs, Name: name})
}

// sameFolder reports whether two paths are one folder, as written or behind symlinks.
func sameFolder(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	return errors.Join(errA, errB) == nil && realA == realB
}

// scanGrace is how long a new location may wait for its first scan to begin before we ask for it ourselves, and so
// hear why it can't.
const scanGrace = 2 * time.Second

// waitScanned shows progress until every one of the locations was scanned, or can't be, and returns them as they are
// then.
func (a *app) waitScanned(ctx context.Context, b api.Backend, locations []api.Location) ([]api.Location, error) {
	var out []api.Location
	idle := a.now() // since when nothing is being scanned
	err := a.follow(ctx, b, func(ctx context.Context) (bool, error) {
		all, err := b.Locations(ctx)
		if err != nil {
			return false, err
		}
		var never *api.Location
		busy := false
		out = out[:0]
		for _, want := range locations {
			i := slices.IndexFunc(all, func(l api.Location) bool { return l.Ref() == want.Ref() })
			if i < 0 {
				return false, &api.Error{Code: api.CodeNotFound, Title: quote(want.Name) + " was removed meanwhile"}
			}
			busy = busy || all[i].State == api.StateScanning
			if all[i].State == api.StateNever {
				never = &all[i]
			}
			out = append(out, all[i])
		}
		switch {
		case busy:
			idle = a.now()
			return false, nil
		case never == nil:
			return true, nil
		case a.now().Sub(idle) < scanGrace:
			return false, nil
		}
		_, err = b.Scan(ctx, api.ScanRequest{Location: never.ID.String()})
		return false, err
	})
	return out, err
}

// sayLocation prints one line about an own location after a scan, and notes about what is wrong with it.
func (a *app) sayLocation(l *api.Location) {
	s := quote(l.Name) + ": " + count(l.Entries, "entry") + " in " + quote(l.Root)
	if l.LastScanDuration > 0 {
		s += ", scanned in " + took(l.LastScanDuration)
	}
	a.say("%s", s)
	for _, n := range locationNotes(l) {
		a.note("note: %s: %s", quote(l.Name), n)
	}
}

// locationNotes says in words what a user should know of a location beyond its numbers.
func locationNotes(l *api.Location) []string {
	var notes []string
	switch l.State {
	case api.StateLazy, api.StateOff:
		return nil // as it was chosen to be
	case api.StateCurrent, api.StateScanning, api.StateSyncing, api.StateOwnerAway, api.StateSame:
	case api.StateNever:
		if l.Own {
			notes = append(notes, "not scanned yet")
		} else {
			notes = append(notes, "not received yet")
		}
	case api.StateBehind:
		notes = append(notes, "a newer state is known but not received yet")
	default:
		notes = append(notes, l.State)
	}
	if l.Detail != "" && l.State != api.StateOwnerAway { // that is not worth a note
		notes = append(notes, oneLine(l.Detail))
	}
	if l.Unreadable > 0 {
		s := count(l.Unreadable, "folder") + " can't be read; what was known of them is kept"
		if len(l.UnreadablePaths) > 0 {
			s += ": " + quote(l.UnreadablePaths[0])
		}
		notes = append(notes, s)
	}
	if l.HeldDeletions > 0 {
		notes = append(notes, count(l.HeldDeletions, "entry")+" disappeared and will be deleted if a second scan agrees: peerdex scan "+quote(l.Name))
	}
	return notes
}

func (a *app) rmCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "rm LOCATION",
		Short: "Stop indexing a folder of this device",
		Long: `Stop indexing a folder of this device. No file is touched. The other devices
drop their copy of its index, or keep it as it was with --keep. LOCATION is its
name, its path or its id.`,
		Args: exactly(1, "location"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.daemon(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			l, err := d.RemoveLocation(cmd.Context(), api.RemoveRequest{Location: locationArg(args[0]), Keep: keep})
			if err != nil {
				return err
			}
			a.answer("rm", l, func() {
				what := "other devices drop their copy of its index"
				if keep {
					what = "other devices keep its index as it was"
				}
				a.say("Removed %s (%s): %s. No file was touched.", quote(l.Name), quote(l.Root), what)
			})
			return nil
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "other devices keep the index as it was")
	return c
}

// locationArg makes a relative path absolute; names and ids stay as they are.
func locationArg(s string) string {
	if strings.ContainsAny(s, `/\`) || s == "." || s == ".." {
		if abs, err := filepath.Abs(s); err == nil {
			return abs
		}
	}
	return s
}

// exactly refuses any other number of arguments than n, and empty ones.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, "too many arguments: "+quote(args[n]))
		}
		if len(args) < n || slices.Contains(args, "") {
			return usage(cmd, "which "+what+"?")
		}
		return nil
	}
}

func (a *app) locationsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "locations",
		Short: "List the indexed folders of all devices",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, release, err := a.reader(cmd.Context())
			if err != nil {
				return err
			}
			defer release()
			all, err := r.Locations(cmd.Context())
			if err != nil {
				return err
			}
			a.answer("locations", orEmpty(all), func() { a.printLocations(all) })
			return nil
		},
	}
}

func (a *app) printLocations(all []api.Location) {
	if len(all) == 0 {
		a.note("No folder is indexed yet. To index one:  peerdex add FOLDER")
		return
	}
	slices.SortStableFunc(all, func(x, y api.Location) int {
		if x.Own != y.Own {
			return map[bool]int{true: -1, false: 1}[x.Own]
		}
		return strings.Compare(x.Device+"\x00"+x.Name, y.Device+"\x00"+y.Name)
	})
	rows := make([]table.Row, 0, len(all))
	for i := range all {
		l := &all[i]
		rows = append(rows, table.Row{quote(l.Device), quote(l.Name), number(l.Entries), asOf(l.AsOf, a.now()), stateOf(l), quote(l.Device + ":" + l.Root)})
	}
	a.say("%s", renderTable(table.Row{"device", "location", "entries", "as of", "state", "folder"}, rows, 3))
	for i := range all {
		if l := &all[i]; l.State == api.StateLazy || l.State == api.StateOff {
			a.note("note: %s: %s: %s", quote(l.Device), quote(l.Name), oneLine(l.Detail))
		}
		for _, n := range locationNotes(&all[i]) {
			if n != all[i].State {
				a.note("note: %s: %s: %s", quote(all[i].Device), quote(all[i].Name), n)
			}
		}
	}
}

func (a *app) scanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "scan [LOCATION]",
		Short: "Look for changes now",
		Long: `Look for changes now, in one location of this device (its name, path or id) or in
all. The daemon also does so when it starts, and every hour.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r api.ScanRequest
			if len(args) > 0 {
				r.Location = locationArg(args[0])
			}
			return a.scan(cmd.Context(), r)
		},
	}
}

func (a *app) scan(ctx context.Context, r api.ScanRequest) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	type outcome struct {
		results []api.ScanResult
		err     error
	}
	ch := make(chan outcome, 1)
	go func() {
		results, err := d.Scan(ctx, r)
		ch <- outcome{results, err}
	}()
	var o outcome
	err = a.follow(ctx, d, func(context.Context) (bool, error) {
		select {
		case o = <-ch:
			return true, o.err
		default:
			return false, nil
		}
	})
	if err != nil {
		return err
	}
	a.answer("scan", orEmpty(o.results), func() {
		for i := range o.results {
			s := &o.results[i]
			a.say("%s: %s, %s, %s changed, %s deleted, %s", quote(s.Location.Name), count(s.Files, "file"), count(s.Folders, "folder"),
				number(s.Changed), number(s.Deleted), took(s.Duration))
			for _, n := range locationNotes(&s.Location) {
				a.note("note: %s: %s", quote(s.Location.Name), n)
			}
		}
		if len(o.results) == 0 {
			a.note("No folder is indexed yet. To index one:  peerdex add FOLDER")
		}
	})
	return nil
}
