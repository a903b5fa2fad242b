package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
)

func (a *app) upCommand() *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{
		Use:   "up [FOLDER…]",
		Short: "Start the daemon in the background, and index folders",
		Long: `Start the daemon in the background, unless it runs, and index the given folders.
The first start creates this device. What is done already is left as it is, so
"up" can be repeated. The flags count for the daemon that is started now; to
keep them, write them into the configuration file (peerdex help config).`,
		Example: "  peerdex up ~/Documents ~/Pictures\n  peerdex up /tank/photos --name nas",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.up(cmd.Context(), f, args) },
	}
	f.register(c)
	return c
}

// upData is what up and add print with --json.
type upData struct {
	Device    api.Device     `json:"device"`
	Started   bool           `json:"started"` // by this command
	Locations []api.Location `json:"locations"`
}

func (a *app) up(ctx context.Context, f daemonFlags, folders []string) error {
	s, err := a.settings(f)
	if err != nil {
		return err
	}
	first := !isSetUp(s.paths)
	_, keyErr := os.Stat(filepath.Join(s.paths.Data, "identity.key"))
	c, _, err := dialDaemon(ctx, s.paths)
	started := false
	if e := api.AsError(err); e != nil && e.Code == api.CodeNoDaemon {
		c, started, err = a.startDaemon(ctx, s.paths, f)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case first && started:
		a.say("Created device %s (%s) in %s", quote(st.Device.Name), st.Device.Short, s.paths.Data)
		if keyErr == nil {
			a.note("note: its key was there already; if it was paired before, pair it again, and its index comes back (peerdex join)")
		}
	case started:
		a.say("Started %s", quote(st.Device.Name))
	default:
		a.say("%s is running already", quote(st.Device.Name))
		if f.name != "" || f.reach != "" || len(f.peers) > 0 || len(f.listen) > 0 || len(f.limit) > 0 {
			a.note("note: the flags are for a daemon that is started; this one goes on as it is (peerdex down, then up)")
		}
	}
	added, addErr := a.addFolders(ctx, c, folders, "", true)
	if f.name != "" && first && st.Device.Name != f.name {
		a.note("note: the device is called %s", quote(st.Device.Name))
	}
	if a.flags.json {
		a.printJSON(a.out, "up", upData{st.Device, started, orEmpty(added)})
	}
	if addErr != nil {
		return addErr
	}
	return a.upHints(ctx, c)
}

// upHints says what to do next.
func (a *app) upHints(ctx context.Context, c *client.Client) error {
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	own := slices.ContainsFunc(st.Locations, func(l api.Location) bool { return l.Own })
	if !own {
		a.note("No folder is indexed yet. To index one:  peerdex add FOLDER")
	}
	if len(st.Devices) == 0 {
		a.note("Only this device so far. To add another:  peerdex invite   (there: peerdex up, then peerdex join)")
	}
	if own {
		a.note("To search:  peerdex find WORD")
	}
	return nil
}

// startDaemon starts `serve` in the background and waits until it answers. When another process was faster, its
// daemon is taken.
func (a *app) startDaemon(ctx context.Context, p paths, f daemonFlags) (c *client.Client, started bool, err error) {
	self, err := selfPath()
	if err != nil {
		return nil, false, err
	}
	cmd := exec.Command(self, a.serveArgs(f)...) // not tied to ctx: it is to stay when we end
	cmd.SysProcAttr = detached()
	cmd.Dir = "/" // keeps no folder of the user's in use
	child, err := start(cmd, p.Log)
	if err != nil {
		return nil, false, err
	}
	c, h, err := child.waitReady(ctx, p)
	if e := api.AsError(err); e != nil && e.Code == api.CodeRunning {
		return a.adopt(ctx, p, err)
	}
	return c, err == nil && h.PID == cmd.Process.Pid, err
}

// adopt waits for a daemon that holds the data but may still be starting.
func (a *app) adopt(ctx context.Context, p paths, running error) (*client.Client, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if c, _, err := dialDaemon(ctx, p); err == nil {
			return c, false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, false, running
		}
	}
}

// serveArgs are the arguments of the daemon that up starts.
func (a *app) serveArgs(f daemonFlags) []string {
	args := []string{"serve"}
	if a.flags.verbose {
		args = append(args, "--verbose")
	}
	dir := a.flags.dir
	if dir == "" {
		dir = a.getenv("PEERDEX_DIR")
	}
	if dir != "" {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		args = append(args, "--dir", dir)
	}
	for _, v := range []struct{ flag, value string }{{"--name", f.name}, {"--reach", f.reach}} {
		if v.value != "" {
			args = append(args, v.flag, v.value)
		}
	}
	for _, v := range f.peers {
		args = append(args, "--peer", v)
	}
	for _, v := range f.limit {
		args = append(args, "--limit", v)
	}
	for _, v := range f.listen {
		args = append(args, "--listen", v)
	}
	return args
}

// orEmpty makes a list that is nil an empty one, so that JSON says [] and not null.
func orEmpty[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}

func (a *app) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the daemon",
		Long:  "Stop the daemon and wait until it has ended. Searching works without it.",
		Args:  atMost(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context()) },
	}
}

// downData is what down prints with --json.
type downData struct {
	Stopped bool `json:"stopped"` // false: it did not run
}

func (a *app) down(ctx context.Context) error {
	p, err := a.paths()
	if err != nil {
		return err
	}
	c, h, err := dialDaemon(ctx, p)
	switch e := api.AsError(err); {
	case e != nil && e.Code == api.CodeNoDaemon:
		a.answer("down", downData{}, func() { a.say("peerdex is not running") })
		return nil
	case e != nil && h.API != 0 && h.API != api.Version:
		c = client.Dial(p.Socket) // stopping is what one does with an older version
	case err != nil:
		return err
	}
	defer c.Close()
	if h, err = c.Shutdown(ctx); err != nil {
		return err
	}
	if err := waitGone(ctx, h.PID); err != nil {
		return err
	}
	a.answer("down", downData{true}, func() { a.say("Stopped") })
	return nil
}
