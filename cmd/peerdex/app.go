package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/adrg/xdg"
	"golang.org/x/term"

	"github.com/peerdex/peerdex/node/api"
)

// app is one run of the command: what it was given and where its words go. It is used by one goroutine.
type app struct {
	args   []string
	in     *os.File
	out    io.Writer // answers
	err    io.Writer // everything else
	inTTY  bool
	outTTY bool
	errTTY bool
	getenv func(string) string
	now    func() time.Time

	flags   globalFlags
	started bool // a command's own code runs: what fails from here on is no longer a mistake in its usage
}

// globalFlags are the flags of every command.
type globalFlags struct {
	dir     string
	json    bool
	quiet   bool
	verbose bool
	color   string
}

func newApp(args []string) *app {
	xdg.Reload() // the package reads the environment when it is loaded; we want it as it is now
	return &app{
		args: args, in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTTY: isTerminal(os.Stdin), outTTY: isTerminal(os.Stdout), errTTY: isTerminal(os.Stderr),
		getenv: os.Getenv, now: time.Now,
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// run runs the command and returns the exit code.
func (a *app) run(ctx context.Context) int {
	root := a.rootCommand()
	root.SetArgs(a.args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errReported), errors.Is(err, errNothing):
		return exitCode(err)
	case !a.started:
		err = usageError(err)
		a.flags.json = a.flags.json || slices.Contains(a.args, "--json") // flags may not have been read yet
	case errors.Is(err, errInterrupted), ctx.Err() != nil && errors.Is(err, context.Canceled):
		a.note("interrupted")
		return exitInterrupted
	}
	a.printError(err)
	return exitCode(err)
}

// note tells the user something that is not the answer, on standard error.
func (a *app) note(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// detail tells what only -v asks for.
func (a *app) detail(format string, args ...any) {
	if a.flags.verbose {
		a.note(format, args...)
	}
}

// say prints a line of the answer for people. With --json the answer is an object instead, and nothing is said.
func (a *app) say(format string, args ...any) {
	if !a.flags.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// Exit codes, as `peerdex help exit-codes` explains them.
const (
	exitOK          = 0
	exitNothing     = 1
	exitUsage       = 2
	exitFailed      = 3
	exitNoDaemon    = 4
	exitRunning     = 5
	exitDenied      = 6
	exitInterrupted = 130
)

var (
	// errNothing ends a command that worked and found nothing, without a word.
	errNothing = errors.New("nothing found")
	// errInterrupted is returned when Ctrl-C was typed where it is no signal.
	errInterrupted = errors.New("interrupted")
	// errReported marks an error that was already printed; it wraps the error that decides the exit code.
	errReported = errors.New("reported")
)

// reported returns err marked as printed.
func reported(err error) error { return &reportedError{err} }

type reportedError struct{ cause error }

func (e *reportedError) Error() string        { return e.cause.Error() }
func (e *reportedError) Unwrap() error        { return e.cause }
func (e *reportedError) Is(target error) bool { return target == errReported }

// exitCode is the exit code that goes with an error.
func exitCode(err error) int {
	if errors.Is(err, errNothing) {
		return exitNothing
	}
	switch api.AsError(err).Code {
	case api.CodeNotFound:
		return exitNothing
	case api.CodeUsage, api.CodeConflict:
		return exitUsage
	case api.CodeNoDaemon:
		return exitNoDaemon
	case api.CodeRunning:
		return exitRunning
	case api.CodeDenied:
		return exitDenied
	}
	return exitFailed
}

// usageError makes an error of the command line's own parser one of ours.
func usageError(err error) error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	return &api.Error{Code: api.CodeUsage, Title: err.Error(), Hint: "peerdex help"}
}

// printError prints an error in at most three lines: what happened, why, and what to type next.
func (a *app) printError(err error) {
	e := api.AsError(err)
	if a.flags.json {
		a.printJSON(a.err, "error", e)
		return
	}
	fmt.Fprintf(a.err, "%s %s\n", a.paint(red, "error:", a.errTTY), oneLine(e.Title))
	if e.Detail != "" {
		fmt.Fprintf(a.err, "  %s\n", oneLine(e.Detail))
	}
	if e.Hint != "" {
		fmt.Fprintf(a.err, "  %s%s\n", hintPrefix(e.Hint), oneLine(e.Hint))
	}
}

// hintPrefix goes before a hint that is a command to type. Others are sentences.
func hintPrefix(hint string) string {
	if strings.HasPrefix(hint, "peerdex ") {
		return "try: "
	}
	return ""
}

// oneLine takes out of a message what would break its line or speak to the terminal.
func oneLine(s string) string {
	if !needsQuotes(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if !printable(r) {
			return '�'
		}
		return r
	}, strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " "))
}

// The colours in use.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// paint colours s where colour is wanted: on a terminal unless NO_COLOR is set, or as --color says.
func (a *app) paint(colour, s string, tty bool) string {
	switch {
	case a.flags.color == "never", a.flags.color != "always" && (!tty || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb"):
		return s
	}
	return colour + s + plain
}
