package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/archive"
)

// phaseExport is the phase of the progress that export shows; the daemon knows no such phase.
const phaseExport = "export"

func (a *app) exportCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "export DEVICE|LOCATION FILE",
		Short: "Write an index to a file, to be carried by hand",
		Long: `Write the index of a location, or of all locations of a device, to a file, for
another device of this library that is far away or on a slow line: there,
"peerdex import FILE" takes it as if it had come over the network. It may be an
index of this device or the copy of another's that this device holds.

DEVICE is a name, an id, or the beginning of either; LOCATION a name, a path or an
id, or DEVICE:NAME. DEVICE: is always a device. With - as FILE the file goes to
standard output. The file holds names, sizes and times, readable by anyone: it is
a tar archive of SQLite databases, compressed with zstd.`,
		Example: "  peerdex export nas /media/stick/nas.tar.zst\n  peerdex export nas:photos - | ssh laptop peerdex import -",
		Args:    twoArgs("which device or location, and into which file?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "-" && a.outTTY {
				return usage(cmd, "the file is not for a terminal")
			}
			return a.export(cmd.Context(), refArg(args[0]), args[1], force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	return c
}

// twoArgs refuses any other number of arguments than two, and empty ones.
func twoArgs(question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 2 {
			return usage(cmd, "too many arguments: "+quote(args[2]))
		}
		if len(args) < 2 || slices.Contains(args, "") {
			return usage(cmd, question)
		}
		return nil
	}
}

// refArg is what names a device or a location; a relative path becomes an absolute one.
func refArg(s string) string {
	if strings.Contains(s, ":") {
		return s
	}
	return locationArg(s)
}

// exportData is what export prints with --json.
type exportData struct {
	File      string             `json:"file"` // "-" for standard output
	Bytes     int64              `json:"bytes"`
	Entries   int64              `json:"entries"`
	Locations []exportedLocation `json:"locations"`
	Missing   []string           `json:"missing"`  // DEVICE:NAME of those of which nothing is held here
	Duration  time.Duration      `json:"duration"` // ns
}

type exportedLocation struct {
	Owner   index.DeviceID   `json:"owner"`
	ID      index.LocationID `json:"id"`
	Device  string           `json:"device"`
	Name    string           `json:"name"`
	Entries int64            `json:"entries"`
	Seq     int64            `json:"seq"`
	AsOf    time.Time        `json:"as_of,omitzero"`
}

func (a *app) export(ctx context.Context, of, file string, force bool) error {
	if file != "-" {
		if err := mayWrite(file, force); err != nil {
			return err
		}
	}
	r, release, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer release()
	st, err := r.Status(ctx)
	if err != nil {
		return err
	}
	e := &exporter{app: a, st: &st, data: exportData{File: file, Locations: []exportedLocation{}, Missing: []string{}}}
	begun := a.now()
	write := func(w io.Writer) error { return e.write(ctx, r, of, w) }
	if file == "-" {
		err = write(a.out)
	} else {
		err = writeFile(file, force, write)
	}
	if err != nil {
		return err
	}
	e.data.Duration = a.now().Sub(begun)
	e.findMissing(of)
	if file == "-" {
		a.out = a.err // standard output has the file
	}
	a.answer("export", e.data, e.print)
	return nil
}

// exporter is one export, seen from the side of who asked for it.
type exporter struct {
	app  *app
	st   *api.Status
	data exportData
}

// write writes the file, and reads it at the same time: so progress and summary say what is in it, and what is not whole
// is never taken for a file.
func (e *exporter) write(ctx context.Context, r api.Reader, of string, out io.Writer) error {
	in, tee := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := e.read(in)
		in.CloseWithError(err) // a writer that has more to say ends
		read <- err
	}()
	to := &output{w: out}
	err := r.Export(ctx, api.ExportRequest{Of: of}, io.MultiWriter(to, tee))
	tee.CloseWithError(err)
	readErr := <-read
	e.data.Bytes = to.n
	switch {
	case to.err != nil:
		return &api.Error{Code: api.CodeFailed, Title: "can't write to " + quote(e.data.File), Detail: to.err.Error(), Hint: "is there enough space?"}
	case err != nil:
		return err
	case readErr != nil:
		return fmt.Errorf("read what was exported: %w", readErr)
	}
	return nil
}

// output counts what is written, and remembers why the writer failed.
type output struct {
	w   io.Writer
	n   int64
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.n += int64(n)
	o.err = err
	return n, err
}

// read follows the file as it is written.
func (e *exporter) read(in io.Reader) error {
	file, err := archive.NewReader(in)
	if err != nil {
		return err
	}
	defer file.Close()
	view := e.app.newBars()
	defer view.close()
	for l, err := range file.Locations() {
		if err != nil {
			return err
		}
		p := api.Progress{
			Location: l.Ref, Name: l.Record.Name, Device: e.device(l.Ref.Owner), Phase: phaseExport, TotalEntries: l.Head.Count,
		}
		for left := l.Size; left > 0; {
			view.update(&p)
			n, err := io.CopyN(io.Discard, l, min(left, 1<<20))
			if err != nil {
				return err
			}
			left -= n
			p.DoneEntries = int64(float64(l.Head.Count) * float64(l.Size-left) / float64(l.Size))
		}
		if _, err := io.Copy(io.Discard, l); err != nil { // nothing more, but the checksum
			return err
		}
		p.Finished = true
		view.update(&p)
		e.data.Entries += l.Head.Count
		e.data.Locations = append(e.data.Locations, exportedLocation{
			Owner: l.Ref.Owner, ID: l.Ref.ID, Device: p.Device, Name: p.Name, Entries: l.Head.Count, Seq: l.Head.Seq, AsOf: l.Head.Time(),
		})
	}
	return nil
}

func (e *exporter) device(id index.DeviceID) string {
	for _, d := range allDevices(e.st) {
		if d.ID == id {
			return d.Name
		}
	}
	return id.Short()
}

// findMissing notes what the file lacks of a device that was to be exported as a whole.
func (e *exporter) findMissing(of string) {
	first := &e.data.Locations[0]
	name := strings.TrimPrefix(of, first.Device+":")
	if name == first.Name || name == first.ID.String() || strings.HasPrefix(name, "/") {
		return // a location
	}
	for i := range e.st.Locations {
		l := &e.st.Locations[i]
		if l.Owner == first.Owner && l.State != api.StateRetired &&
			!slices.ContainsFunc(e.data.Locations, func(x exportedLocation) bool { return x.ID == l.ID }) {
			e.data.Missing = append(e.data.Missing, l.Device+":"+l.Name)
		}
	}
}

func (e *exporter) print() {
	a, d := e.app, &e.data
	for i := range d.Locations {
		l := &d.Locations[i]
		a.say("%s: %s: %s, as of %s", quote(l.Device), quote(l.Name), count(l.Entries, "entry"), asOf(l.AsOf, a.now()))
	}
	to := "standard output"
	if d.File != "-" {
		to = quote(d.File)
	}
	a.say("Exported %s with %s to %s: %s in %s", count(int64(len(d.Locations)), "location"), count(d.Entries, "entry"), to, size(d.Bytes), took(d.Duration))
	for _, m := range d.Missing {
		a.note("note: %s is not in the file: nothing of it has been received yet", quote(m))
	}
}

// mayWrite reports why a file may not be written, or nil.
func mayWrite(path string, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return &api.Error{Code: api.CodeUsage, Title: "can't write to " + quote(path), Detail: err.Error()}
	case info.IsDir():
		return &api.Error{Code: api.CodeUsage, Title: quote(path) + " is a folder", Hint: "name a file in it"}
	case !info.Mode().IsRegular():
		return &api.Error{Code: api.CodeUsage, Title: quote(path) + " is not a file", Hint: "use - and redirect standard output"}
	case !force:
		return &api.Error{Code: api.CodeConflict, Title: quote(path) + " is there already", Hint: "choose another name, or replace it with --force"}
	}
	return nil
}

// writeFile writes a file that only this user can read, under another name until it is whole and on the disk.
func writeFile(path string, force bool, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".peerdex-export-*")
	if err != nil {
		return &api.Error{Code: api.CodeUsage, Title: "can't write to " + quote(path), Detail: err.Error()}
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := mayWrite(path, force); err != nil { // somebody was faster
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("name the file: %w", err)
	}
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync() // some file systems can't; the file itself is on the disk
		_ = d.Close()
	}
	return nil
}
