package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

func (a *app) importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Take over an index from a file",
		Long: `Take over the indexes that "peerdex export" wrote on a device of this library. Each
is checked against what its owner signed, and replaces what this device holds of
it if that is older. From then on this device has it like one that came over the
network, and goes on from there. With - as FILE it is read from standard input.

Locations are taken or refused one by one. Those that are here already, as new or
newer, and those of this device itself, are nothing to do. The exit code is that
of the first one refused. It needs the daemon.`,
		Args: exactly(1, "file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" && a.inTTY {
				return usage(cmd, "standard input is a terminal, not a file")
			}
			return a.importFrom(cmd.Context(), args[0])
		},
	}
}

// importData is what import prints with --json.
type importData struct {
	File string `json:"file"` // "-" for standard input
	api.ImportResult
}

func (a *app) importFrom(ctx context.Context, file string) error {
	in := a.in
	if file != "-" {
		f, err := openFile(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	res, err := a.runImport(ctx, d, in)
	if err != nil {
		return err
	}
	a.answer("import", importData{file, res}, func() { a.printImport(&res) })
	var first error
	for i := range res.Locations {
		if p := res.Locations[i].Problem; p != nil {
			a.printError(p)
			first = cmpErr(first, p)
		}
	}
	if res.Problem != nil {
		a.printError(res.Problem)
		first = cmpErr(first, res.Problem)
	}
	if first != nil {
		return reported(first)
	}
	return nil
}

func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, &api.Error{Code: api.CodeUsage, Title: "there is no file " + quote(path)}
	case err != nil:
		return nil, &api.Error{Code: api.CodeFailed, Title: quote(path) + " can't be read", Detail: err.Error()}
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, &api.Error{Code: api.CodeUsage, Title: quote(path) + " is a folder", Hint: "name a file in it"}
	}
	return f, nil
}

// runImport has the daemon import a file, and shows how far it is.
func (a *app) runImport(ctx context.Context, b api.Backend, in io.Reader) (api.ImportResult, error) {
	type outcome struct {
		res api.ImportResult
		err error
	}
	ch := make(chan outcome, 1)
	go func() {
		res, err := b.Import(ctx, in)
		ch <- outcome{res, err}
	}()
	var o outcome
	err := a.follow(ctx, b, func(context.Context) (bool, error) {
		select {
		case o = <-ch:
			return true, o.err
		default:
			return false, nil
		}
	})
	return o.res, err
}

func (a *app) printImport(res *api.ImportResult) {
	var imported, refused, entries int64
	for i := range res.Locations {
		l := &res.Locations[i].Location
		name := quote(l.Device) + ": " + quote(l.Name)
		switch res.Locations[i].Outcome {
		case api.ImportDone:
			imported++
			entries += l.Entries
			a.say("%s: %s, as of %s", name, count(l.Entries, "entry"), asOf(l.AsOf, a.now()))
		case api.ImportHeld:
			a.say("%s: nothing to do, what is here is as new", name)
		case api.ImportOwn:
			a.say("%s: nothing to do, it is this device's own", name)
		case api.ImportRemoved:
			a.say("%s: nothing to do, its owner removed it", name)
		default:
			refused++
		}
	}
	of, read := count(int64(len(res.Locations)), "location"), size(res.Bytes)+" in "+took(res.Duration)
	if imported+refused == 0 {
		a.say("Nothing to do with %s: %s", of, read)
		return
	}
	a.say("Imported %s of %s, %s: %s", number(imported), of, count(entries, "entry"), read)
}
