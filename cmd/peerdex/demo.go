package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo [FOLDER]",
		Short: "See it work: two devices on this machine",
		Long: `Run two devices as two processes on this machine, with nothing to set up and
nothing sent to any network: "nas" indexes FOLDER, "laptop" is empty. They are
paired, "laptop" receives the index, "nas" is stopped, and "laptop" searches.
Then both databases are compared row by row. Exit code 1 says that they differ.

FOLDER is by default the source of the Go installation, else your home folder.
It is only read. All that is written is in a temporary folder, and is removed.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := demoFolder(cmd.Context(), args)
			if err != nil {
				return err
			}
			return a.demo(cmd.Context(), dir)
		},
	}
}

// demoFolder is what the demo indexes.
func demoFolder(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return filepath.Abs(args[0])
	}
	if out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output(); err == nil {
		if src := filepath.Join(strings.TrimSpace(string(out)), "src"); filepath.IsAbs(src) && isDir(src) {
			return src, nil
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home folder: %w", err)
	}
	return home, nil
}

// demoData is what demo prints with --json. Durations are in ns.
type demoData struct {
	Folder          string        `json:"folder"`
	Entries         int64         `json:"entries"`
	Scan            time.Duration `json:"scan"`
	FindTime        time.Duration `json:"find,omitempty"` // of find -printf on the same folder; 0 where there is no GNU find
	Sync            time.Duration `json:"sync"`           // from connected to complete
	WireBytes       int64         `json:"wire_bytes"`     // both directions, pairing included
	EntriesPerSec   float64       `json:"entries_per_second"`
	NASPeakBytes    int64         `json:"nas_peak_bytes"` // memory
	LaptopPeakBytes int64         `json:"laptop_peak_bytes"`
	Query           string        `json:"query"`
	Search          time.Duration `json:"search"`
	Hits            []api.Hit     `json:"hits"`
	Rows            int64         `json:"rows"`
	Difference      string        `json:"difference"`    // "" = equal
	VerifiedRoot    index.Hash    `json:"verified_root"` // of the replica's hash tree, counted anew; the owner signed it
}

// demoRun is one run of the demo.
type demoRun struct {
	app     *app
	folder  string
	temp    string
	nas     *demoNode
	laptop  *demoNode
	ref     index.Location
	seq     int64
	connect time.Time
	data    demoData
}

func (a *app) demo(ctx context.Context, folder string) (err error) {
	temp, err := os.MkdirTemp("", "peerdex-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	d := &demoRun{app: a, folder: folder, temp: temp, data: demoData{Folder: folder}}
	defer d.stopAll()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"start two devices", d.start}, {"read the folder with find", d.timeFind}, {"index the folder", d.scan}, {"time find", d.timeFind},
		{"pair them", d.pair}, {"receive the index", d.sync}, {"stop nas", d.stopNAS}, {"search", d.search}, {"compare", d.compare},
	} {
		if err := step.do(ctx); err != nil {
			if ctx.Err() != nil || errors.Is(err, errNothing) {
				return err
			}
			e := *api.AsError(err)
			e.Title = step.what + ": " + e.Title
			return &e
		}
	}
	return nil
}

func (d *demoRun) start(ctx context.Context) (err error) {
	a := d.app
	a.say("Two devices on this machine, nothing is sent to any network. Everything is in %s and is removed afterwards.", d.temp)
	if d.nas, err = a.startDemoNode(ctx, filepath.Join(d.temp, "nas"), "nas"); err != nil {
		return err
	}
	d.laptop, err = a.startDemoNode(ctx, filepath.Join(d.temp, "laptop"), "laptop")
	return err
}

// timeFind times find on the same folder. It runs twice, before the scan and after it, so that both the scan and the
// run that counts read what the system has in memory.
func (d *demoRun) timeFind(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "find", "--version").Output()
	if err != nil || !strings.Contains(string(out), "GNU") {
		return ctx.Err()
	}
	begun := time.Now()
	_ = exec.CommandContext(ctx, "find", d.folder, "-printf", "%s %T@ %p\n").Run() // folders it can't read are no matter here
	d.data.FindTime = time.Since(begun)
	return ctx.Err()
}

func (d *demoRun) scan(ctx context.Context) error {
	a, b := d.app, d.nas.client
	begun := time.Now()
	l, err := b.AddLocation(ctx, api.AddRequest{Path: d.folder})
	if err != nil {
		return err
	}
	done, err := a.waitScanned(ctx, b, []api.Location{l})
	if err != nil {
		return err
	}
	d.data.Scan = time.Since(begun)
	if l = done[0]; l.State != api.StateCurrent {
		return &api.Error{Code: api.CodeFailed, Title: quote(d.folder) + " could not be indexed", Detail: strings.Join(locationNotes(&l), "; ")}
	}
	d.ref, d.seq, d.data.Entries = l.Ref(), l.Seq, l.Entries
	a.say("nas     indexed %s of %s in %s", count(l.Entries, "entry"), quote(d.folder), took(d.data.Scan))
	return nil
}

func (d *demoRun) pair(ctx context.Context) error {
	inv, err := d.nas.client.Invite(ctx)
	if err != nil {
		return err
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	connected := make(chan time.Time, 1)
	listening := make(chan struct{})
	go func() {
		defer close(connected)
		close(listening)
		for e, err := range d.laptop.client.Events(watch) {
			if err == nil && e.Type == api.EventDeviceConnected {
				connected <- time.Now()
				return
			}
		}
	}()
	<-listening
	begun := time.Now()
	r, err := d.laptop.client.Join(ctx, api.JoinRequest{Ticket: inv.Ticket})
	if err != nil {
		return err
	}
	d.connect = time.Now()
	select {
	case t, ok := <-connected:
		if ok && t.After(begun) {
			d.connect = t
		}
	default:
	}
	d.app.say("laptop  joined %s with a ticket", quote(r.Inviter.Name))
	return nil
}

// sync waits until laptop holds all that nas has signed.
func (d *demoRun) sync(ctx context.Context) error {
	var complete time.Time
	err := d.app.followLocation(ctx, d.laptop.client, d.ref, func(ctx context.Context) (bool, error) {
		l, err := findLocation(ctx, d.laptop.client, d.ref)
		if err != nil || l == nil || l.State != api.StateCurrent || l.Seq < d.seq {
			return false, errors.Join(err, d.nas.ended())
		}
		complete = time.Now()
		return true, nil
	})
	if err != nil {
		return err
	}
	d.data.Sync = complete.Sub(d.connect)
	d.data.EntriesPerSec = float64(d.data.Entries) / max(d.data.Sync.Seconds(), 1e-9)
	nas, err := d.nas.client.Status(ctx)
	if err != nil {
		return err
	}
	laptop, err := d.laptop.client.Status(ctx)
	if err != nil {
		return err
	}
	d.data.NASPeakBytes, d.data.LaptopPeakBytes = nas.Process.PeakRSSBytes, laptop.Process.PeakRSSBytes
	d.data.WireBytes = laptop.Traffic.BytesIn + laptop.Traffic.BytesOut
	d.app.say("laptop  received %s in %s: %s on the wire, %s entries/s", count(d.data.Entries, "entry"), took(d.data.Sync),
		size(d.data.WireBytes), number(int64(d.data.EntriesPerSec)))
	return nil
}

// findLocation returns a location as a device knows it, or nil when it does not.
func findLocation(ctx context.Context, b api.Reader, ref index.Location) (*api.Location, error) {
	all, err := b.Locations(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Ref() == ref {
			return &all[i], nil
		}
	}
	return nil, nil
}

func (d *demoRun) stopNAS(ctx context.Context) error {
	if err := d.nas.stop(ctx); err != nil {
		return err
	}
	d.app.say("nas     stopped")
	return nil
}

// search searches laptop for something that is likely to be in any tree, until three hits are found.
func (d *demoRun) search(ctx context.Context) error {
	a := d.app
	for _, text := range []string{"readme", "test", "main", "type:f", "type:d"} {
		d.data.Query = text
		begun := time.Now()
		hits, err := firstHits(ctx, d.laptop.client, api.Query{Text: text, Limit: 3})
		if err != nil {
			return err
		}
		d.data.Search = time.Since(begun)
		if d.data.Hits = orEmpty(hits); len(hits) == 3 {
			break
		}
	}
	a.say("laptop  $ peerdex find %s --limit 3      (%s)", d.data.Query, took(d.data.Search))
	for i := range d.data.Hits {
		h := &d.data.Hits[i]
		a.say("        %s  %s  (as of %s)", hitColumns(h, false, a.now()), quote(fullPath(h)), h.AsOf.Local().Format("15:04:05"))
	}
	return nil
}

func firstHits(ctx context.Context, c *client.Client, q api.Query) (hits []api.Hit, err error) {
	for h, err := range c.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// compare compares what the two devices hold, with both stopped, and prints the figures.
func (d *demoRun) compare(ctx context.Context) error {
	a := d.app
	if err := d.laptop.stop(ctx); err != nil {
		return err
	}
	var err error
	d.data.Rows, d.data.Difference, err = compareStores(ctx, d.nas.dir, d.laptop.dir, d.ref)
	if err != nil {
		return err
	}
	if d.data.Difference == "" {
		if d.data.VerifiedRoot, err = verifyStore(ctx, d.laptop.dir, d.ref); err != nil {
			return err
		}
	}
	a.answer("demo", d.data, d.print)
	if d.data.Difference != "" {
		return errNothing
	}
	return nil
}

func (d *demoRun) print() {
	a, v := d.app, &d.data
	a.say("")
	a.say("scan      %s entries in %.2f s", number(v.Entries), v.Scan.Seconds())
	if v.FindTime > 0 {
		a.say("find      %.2f s for `find -printf '%%s %%T@ %%p\\n'` on the same folder, both with a warm cache", v.FindTime.Seconds())
	}
	a.say("sync      %.2f s from connected to complete, %s entries/s, %s on the wire", v.Sync.Seconds(),
		number(int64(v.EntriesPerSec)), size(v.WireBytes))
	if v.NASPeakBytes > 0 {
		a.say("memory    nas %s, laptop %s at most", size(v.NASPeakBytes), size(v.LaptopPeakBytes))
	}
	if v.Difference != "" {
		a.say("different: %s", oneLine(v.Difference))
		return
	}
	a.say("verified: counted anew, the hash tree of laptop's replica has the root that nas signed, %s…", v.VerifiedRoot.String()[:16])
	a.say("equal: %s rows", number(v.Rows))
}

// stopAll ends what still runs, however the demo ended.
func (d *demoRun) stopAll() {
	for _, n := range []*demoNode{d.nas, d.laptop} {
		if n != nil {
			n.kill()
		}
	}
}
