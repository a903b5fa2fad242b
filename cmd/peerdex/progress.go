package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

// plainEvery is how often a line of progress is printed where there is no terminal to draw a bar on.
const plainEvery = 5 * time.Second

// bars shows the progress of scans and transfers on standard error: as bars on a terminal, as a line now and then
// elsewhere, and not at all with -q or --json. It is safe for concurrent use.
type bars struct {
	app *app
	mu  sync.Mutex

	writer   progress.Writer // nil where lines are printed, and before the first bar
	rendered chan struct{}   // closed when the writer's goroutine has ended
	trackers map[barKey]*progress.Tracker
	printed  map[barKey]time.Time
	closed   bool
}

type barKey struct {
	location index.Location
	phase    string
}

func (a *app) newBars() *bars {
	return &bars{app: a, trackers: map[barKey]*progress.Tracker{}, printed: map[barKey]time.Time{}}
}

// update shows the newest state of one scan or transfer.
func (b *bars) update(p *api.Progress) {
	if b.app.flags.quiet || b.app.flags.json {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := barKey{p.Location, p.Phase}
	switch {
	case b.closed:
	case b.app.errTTY && b.app.getenv("TERM") != "dumb":
		b.draw(key, p)
	default:
		b.print(key, p)
	}
}

func (b *bars) print(key barKey, p *api.Progress) {
	now := b.app.now()
	if last, seen := b.printed[key]; !p.Finished && (!seen || now.Sub(last) >= plainEvery) {
		b.printed[key] = now
		if seen { // the first is only noted: what ends within seconds needs no line
			b.app.note("%s: %s%s", barTitle(p), doneOf(p), paceOf(p))
		}
	}
}

func (b *bars) draw(key barKey, p *api.Progress) {
	t := b.trackers[key]
	if t == nil {
		if p.Finished {
			return
		}
		t = &progress.Tracker{Message: barTitle(p), AutoStopDisabled: true, Units: progress.Units{Formatter: number}}
		if p.InBytes() {
			t.Units.Formatter = size
		}
		b.trackers[key] = t
		b.begin()
		b.writer.AppendTracker(t)
	}
	done, total := p.DoneEntries, p.TotalEntries
	if p.InBytes() {
		done, total = p.DoneBytes, p.TotalBytes
	}
	if total > 0 {
		t.UpdateTotal(max(total, done))
	}
	t.SetValue(done)
	if p.Finished {
		t.SetValue(max(t.Value(), t.Total))
	}
}

// begin starts drawing at the first bar.
func (b *bars) begin() {
	if b.writer != nil {
		return
	}
	w := progress.NewWriter()
	w.SetOutputWriter(b.app.err)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetTrackerLength(25)
	if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		w.SetTerminalWidth(width)
	}
	style := progress.StyleBlocks
	style.Visibility.Speed = true
	style.Visibility.ETA = true
	style.Visibility.TrackerOverall = false
	style.Options.Separator = "  "
	style.Options.PercentIndeterminate = "     "
	style.Options.TimeInProgressPrecision = time.Second
	style.Options.SpeedPrecision = time.Second
	w.SetStyle(style)
	b.writer, b.rendered = w, make(chan struct{})
	go func() {
		defer close(b.rendered)
		w.Render()
	}()
}

// close waits until nothing is drawn any more and takes the bars off the screen. None was ever marked as done: the
// library would leave its line where it stands.
func (b *bars) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.writer == nil {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b.writer.Stop() // has no effect before the goroutine has begun
		select {
		case <-b.rendered:
			fmt.Fprint(b.app.err, strings.Repeat(text.CursorUp.Sprint()+text.EraseLine.Sprint(), len(b.trackers)))
			return
		case <-tick.C:
		}
	}
}

func barTitle(p *api.Progress) string {
	switch p.Phase {
	case api.PhaseScan:
		return "Scanning " + quote(p.Name)
	case api.PhaseProve:
		return "Proving " + quote(p.Device) + ": " + quote(p.Name)
	case phaseExport:
		return "Exporting " + quote(p.Device) + ": " + quote(p.Name)
	case api.PhaseImport:
		return "Importing " + quote(p.Device) + ": " + quote(p.Name)
	case api.PhaseApply:
		return "Storing " + quote(p.Device) + ": " + quote(p.Name)
	}
	return "Receiving " + quote(p.Device) + ": " + quote(p.Name)
}

// doneOf says how far something is, in entries if it can.
func doneOf(p *api.Progress) string {
	if p.InBytes() && p.TotalBytes > 0 {
		return size(p.DoneBytes) + " of " + size(p.TotalBytes)
	}
	if p.TotalEntries > 0 {
		return number(p.DoneEntries) + " of " + count(p.TotalEntries, "entry")
	}
	return count(p.DoneEntries, "entry")
}

// paceOf says how fast something is and how long it will take, with a comma before it; "" if neither is known.
func paceOf(p *api.Progress) string {
	var parts []string
	if percent := p.Percent(); percent >= 0 {
		parts = append(parts, fmt.Sprintf("%d %%", percent))
	}
	switch {
	case p.InBytes() && p.BytesPerSecond > 0:
		parts = append(parts, size(int64(p.BytesPerSecond))+"/s")
	case p.EntriesPerSecond > 0:
		parts = append(parts, number(int64(p.EntriesPerSecond))+" entries/s")
	}
	if p.ETA > 0 {
		parts = append(parts, took(p.ETA)+" left")
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

// follow shows progress until done says true, asking it again and again: events only make the picture move, what is
// the case is always asked for.
func (a *app) follow(ctx context.Context, b api.Backend, done func(context.Context) (bool, error)) error {
	return a.followSome(ctx, b, func(*api.Progress) bool { return true }, done)
}

// followLocation is follow for the progress of one location.
func (a *app) followLocation(ctx context.Context, b api.Backend, l index.Location, done func(context.Context) (bool, error)) error {
	return a.followSome(ctx, b, func(p *api.Progress) bool { return p.Location == l }, done)
}

// followSome is follow for the progress that is wanted.
func (a *app) followSome(ctx context.Context, b api.Backend, wanted func(*api.Progress) bool, done func(context.Context) (bool, error)) error {
	view := a.newBars()
	defer view.close()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for e, err := range b.Events(ctx) {
			if err != nil {
				return // the picture stands still; done reports what is wrong
			}
			if e.Progress != nil && wanted(e.Progress) {
				view.update(e.Progress)
			}
		}
	})
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
