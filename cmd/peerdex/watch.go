package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/peerdex/peerdex/node/api"
)

// watchEvery is how often `status -w` draws the screen anew.
const watchEvery = time.Second

// watchStatus shows the status again and again until it is interrupted: on a terminal in place, with a bar for each
// transfer; elsewhere, or with --json, a line whenever it is asked.
func (a *app) watchStatus(ctx context.Context, r api.Reader) error {
	w := &watch{app: a}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		st, err := r.Status(ctx)
		if err != nil {
			return err
		}
		w.show(&st)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch is what `status -w` shows.
type watch struct {
	app   *app
	lines int // on the screen
	last  string
	at    time.Time // of the last line
}

func (w *watch) show(st *api.Status) {
	a := w.app
	switch {
	case a.flags.json:
		a.printJSON(a.out, "status", st)
	case a.outTTY && a.getenv("TERM") != "dumb":
		w.draw(st)
	default:
		w.line(st)
	}
}

// draw shows the whole status where it stood before.
func (w *watch) draw(st *api.Status) {
	var b bytes.Buffer
	in := *w.app
	in.out, in.err = &b, &b
	transfers := st.Transfers
	st.Transfers = nil
	in.printStatus(st)
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	for i := range transfers {
		fmt.Fprintln(&b, bar(&transfers[i], width))
	}
	lines := bytes.Split(bytes.TrimRight(b.Bytes(), "\n"), []byte("\n"))
	lines = lines[:min(len(lines), max(height-1, 1))] // what does not fit can't be taken back
	out := bytes.NewBufferString("\r")
	for range w.lines {
		out.WriteString(text.CursorUp.Sprint())
	}
	for _, l := range lines {
		out.WriteString(text.EraseLine.Sprint())
		out.WriteString(text.Trim(string(l), width))
		out.WriteString("\n")
	}
	for range w.lines - len(lines) { // left over from before
		out.WriteString(text.EraseLine.Sprint() + "\n")
	}
	for range w.lines - len(lines) {
		out.WriteString(text.CursorUp.Sprint())
	}
	w.lines = len(lines)
	_, _ = w.app.out.Write(out.Bytes())
}

// bar is a progress in one line.
func bar(p *api.Progress, width int) string {
	percent := p.Percent()
	if percent < 0 {
		return barTitle(p) + ": " + doneOf(p) + paceOf(p)
	}
	const length = 25
	style := progress.StyleCharsBlocks
	full := percent * length / 100
	s := style.BoxLeft
	for i := range length {
		if i < full {
			s += style.Finished
		} else {
			s += style.Unfinished
		}
	}
	s += style.BoxRight + " " + barTitle(p) + ": " + doneOf(p) + paceOf(p)
	return text.Trim(s, width)
}

// line says what moves and what is wrong in one line, if that has changed, or every few seconds while something moves.
func (w *watch) line(st *api.Status) {
	a := w.app
	var s string
	for i := range st.Transfers {
		p := &st.Transfers[i]
		s += "; " + barTitle(p) + ": " + doneOf(p) + paceOf(p)
	}
	states := map[string]int{}
	var order []string
	for i := range st.Locations {
		state := stateOf(&st.Locations[i])
		if st.Locations[i].State == api.StateSyncing {
			state = api.StateSyncing
		}
		if states[state]++; states[state] == 1 {
			order = append(order, state)
		}
	}
	summary := count(int64(len(st.Locations)), "location")
	for _, state := range order {
		summary += fmt.Sprintf(", %d %s", states[state], state)
	}
	for _, n := range st.Notes {
		summary += "; " + oneLine(n)
	}
	now := a.now()
	if summary == w.last && (s == "" || now.Sub(w.at) < plainEvery) {
		return
	}
	w.last, w.at = summary, now
	a.say("%s  %s%s", now.Local().Format(time.TimeOnly), summary, s)
}
