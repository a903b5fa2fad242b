package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store/query"
)

// hitFlags are the flags of find and ls about how hits are printed.
type hitFlags struct {
	long  bool
	zero  bool
	count bool
}

func (f *hitFlags) register(c *cobra.Command) {
	c.Flags().BoolVarP(&f.long, "long", "l", false, "with kind, mode, size and time")
	c.Flags().BoolVarP(&f.zero, "print0", "0", false, "end names with a NUL byte, and print them as they are")
	c.Flags().BoolVarP(&f.count, "count", "c", false, "print how many, only")
}

// check refuses flags that contradict each other.
func (f *hitFlags) check(c *cobra.Command) error {
	if (f.long && f.zero) || (f.long && f.count) || (f.zero && f.count) {
		return usage(c, "only one of --long, --print0 and --count can be given")
	}
	return nil
}

func (a *app) findCommand() *cobra.Command {
	var q api.Query
	var f hitFlags
	c := &cobra.Command{
		Use:     "find QUERY…",
		Aliases: []string{"f"},
		Short:   "Search the files of all devices",
		Long: `Search the files of all devices, whether they are on or off, and whether the
daemon runs or not. Names and paths are searched, not contents. "peerdex help
query" has the operators.

Hits come device by device, this one's first, in the order in which they were
indexed, or as --sort says.

On a terminal hits come with size and time; in a pipe one DEVICE:PATH a line, or
as the flags say. How old each device's part of the answer is goes to standard
error. Exit code 1 says that nothing was found.`,
		Example: "  peerdex find report 2026 ext:pdf\n  peerdex find 'size:>1G' -d nas\n  peerdex find -t d photos\n" +
			"  peerdex find -p /tank/photos -k image --sort modified- --limit 20",
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Text = strings.Join(args, " ")
			if strings.TrimSpace(q.Text) == "" && conditions(&q) == 0 {
				return usage(cmd, "what is to be found?")
			}
			if q.Limit < 0 {
				return usage(cmd, fmt.Sprintf("--limit %d makes no sense", q.Limit))
			}
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.find(cmd.Context(), q, f)
		},
	}
	fl := c.Flags()
	fl.StringArrayVarP(&q.Ext, "ext", "e", nil, "extension (repeatable: any of them)")
	fl.StringArrayVarP(&q.Size, "size", "S", nil, "size, such as '>10M' or 1M..2G")
	fl.StringArrayVarP(&q.Type, "type", "t", nil, "f file, d folder, l symlink")
	fl.StringArrayVar(&q.Modified, "modified", nil, "time of the last change, such as '<7d' or 2026-03")
	fl.StringArrayVarP(&q.Kind, "kind", "k", nil, "image, video, audio, doc, archive or code")
	fl.StringArrayVar(&q.Name, "name", nil, "word or pattern (repeatable: any of them)")
	fl.StringArrayVarP(&q.Path, "path", "p", nil, "folder to look in (repeatable: any of them)")
	fl.StringArrayVarP(&q.On, "on", "d", nil, "device (repeatable: any of them)")
	fl.StringArrayVar(&q.Location, "location", nil, "location (repeatable: any of them)")
	fl.StringVar(&q.Sort, "sort", "", "name, size or modified; size- begins with the largest")
	fl.IntVar(&q.Limit, "limit", 0, "stop after this many (0: never)")
	fl.StringVar(&q.After, "after", "", `go on behind a hit: the "next" that --json printed with it`)
	f.register(c)
	return c
}

// conditions counts what flags ask for.
func conditions(q *api.Query) int {
	return len(q.Ext) + len(q.Kind) + len(q.Location) + len(q.Modified) + len(q.Name) + len(q.On) + len(q.Path) + len(q.Size) + len(q.Type)
}

func (a *app) find(ctx context.Context, q api.Query, f hitFlags) error {
	r, release, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer release()
	begun := a.now()
	p := a.newHitPrinter(f, fullPath)
	err = p.printAll(r.Search(ctx, q))
	partly, ok := errors.AsType[*api.Error](err)
	if ok = ok && partly.Code == api.CodeIncomplete; err != nil && !ok {
		return err
	}
	s := summary{Count: p.total(), Elapsed: int64(a.now().Sub(begun)), Complete: !ok && (q.Limit == 0 || p.total() < int64(q.Limit))}
	s.Limited = q.Limit > 0 && p.total() >= int64(q.Limit)
	st, err := r.Status(ctx)
	if err != nil {
		return err
	}
	st.Locations = searchedOnce(st.Locations, p.seen)
	s.Devices = p.asked(searched(&st, q, a.now()))
	if ok {
		s.Missing = partly.Detail
	}
	p.finish(&s)
	switch {
	case s.Count == 0 && ok:
		return partly
	case s.Count == 0:
		return errNothing
	}
	return nil
}

// searched says of each device that a search could reach how old its part is.
func searched(st *api.Status, q api.Query, now time.Time) []deviceAsOf {
	parsed, err := query.Fields{Text: q.Text, On: q.On}.Parse(now)
	out := []deviceAsOf{}
	for _, d := range allDevices(st) {
		if err == nil && !parsed.MatchesDevice(d.Name, d.Short, d.ID.String()) {
			continue
		}
		if v, has := deviceSummary(st, &d); has {
			out = append(out, v)
		}
	}
	return out
}

// deviceSummary says how old a device's index is, and what is wrong with it. has is false when it has no location.
func deviceSummary(st *api.Status, d *api.Device) (v deviceAsOf, has bool) {
	v = deviceAsOf{Device: d.Name, Connected: d.Self || (d.Connected && st.Running), AsOf: deviceAge(st.Locations, d)}
	for i := range st.Locations {
		l := &st.Locations[i]
		if l.Owner != d.ID || l.State == api.StateRetired {
			continue
		}
		has = true
		for _, n := range locationNotes(l) {
			v.Notes = append(v.Notes, quote(l.Name)+": "+n)
		}
	}
	return v, has
}

// hitPrinter prints hits as the flags say, and counts them.
type hitPrinter struct {
	app     *app
	flags   hitFlags
	name    func(*api.Hit) string
	details bool
	out     *bufio.Writer
	flushed time.Time
	kinds   map[index.Kind]int64
	seen    map[index.Location]bool // locations of which hits were printed
	via     map[viaKey]time.Time    // of hits that were asked for on demand: the oldest
}

// viaKey is a device, and where some of its hits came from.
type viaKey struct {
	device string
	via    api.Via
}

// noteVia remembers where a hit came from.
func (p *hitPrinter) noteVia(device string, via *api.Via, asOf time.Time) {
	if via == nil {
		return
	}
	k := viaKey{device, *via}
	if at, seen := p.via[k]; !seen || asOf.Before(at) {
		p.via[k] = asOf
	}
}

// asked adds to what is said of devices what was asked for on demand.
func (p *hitPrinter) asked(devices []deviceAsOf) []deviceAsOf {
	for k, at := range p.via {
		for i := range devices {
			d := &devices[i]
			if d.Device != k.device {
				continue
			}
			if at.Before(d.AsOf) {
				d.AsOf = at
			}
			switch by := quote(k.via.Device); {
			case k.via.Cached && k.via.Unverified:
				d.Notes = append(d.Notes, "remembered from what "+by+" answered: unverified, since that is not its owner")
			case k.via.Cached:
				d.Notes = append(d.Notes, "remembered from what "+by+" answered")
			case k.via.Unverified:
				d.Notes = append(d.Notes, "answered by "+by+": unverified, since that is not its owner")
			}
		}
	}
	for i := range devices {
		slices.Sort(devices[i].Notes)
	}
	return devices
}

// newHitPrinter returns a printer that calls hits by name where it prints details.
func (a *app) newHitPrinter(f hitFlags, name func(*api.Hit) string) *hitPrinter {
	return &hitPrinter{
		app: a, flags: f, name: name, details: f.long || (a.outTTY && !f.zero),
		out: bufio.NewWriterSize(a.out, 64<<10), kinds: map[index.Kind]int64{}, seen: map[index.Location]bool{}, via: map[viaKey]time.Time{},
	}
}

func (p *hitPrinter) total() (n int64) {
	for _, k := range p.kinds {
		n += k
	}
	return n
}

func (p *hitPrinter) printAll(hits iter.Seq2[api.Hit, error]) error {
	for h, err := range hits {
		if err != nil {
			return joinFlush(err, p.out)
		}
		p.kinds[h.Kind]++
		p.seen[index.Location{Owner: h.Owner, ID: h.Location}] = true
		p.noteVia(h.Device, h.Via, h.AsOf)
		p.print(&h)
		if now := p.app.now(); p.app.outTTY && now.Sub(p.flushed) > 100*time.Millisecond {
			p.flushed = now
			if err := p.out.Flush(); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
	}
	return joinFlush(nil, p.out)
}

// joinFlush prints what is waiting to be printed, also when err ends the list early.
func joinFlush(err error, out *bufio.Writer) error {
	if flushErr := out.Flush(); err == nil && flushErr != nil {
		return fmt.Errorf("print: %w", flushErr)
	}
	return err
}

// print prints one hit. Errors of the writer stick and come out at the next flush.
func (p *hitPrinter) print(h *api.Hit) {
	switch {
	case p.flags.count:
	case p.app.flags.json:
		p.app.printJSON(p.out, "hit", h)
	case p.flags.zero:
		fmt.Fprintf(p.out, "%s\x00", fullPath(h))
	case p.details:
		name := p.name(h)
		if h.Kind == index.KindDir && !strings.HasSuffix(name, "/") {
			name += "/"
		}
		fmt.Fprintf(p.out, "%s  %s\n", hitColumns(h, p.flags.long, p.app.now()), quote(name))
	default:
		fmt.Fprintf(p.out, "%s\n", fullPath(h))
	}
}

// finish prints the count where that is the answer, and the line that says how old the answer is.
func (p *hitPrinter) finish(s *summary) {
	a := p.app
	if a.flags.json {
		a.printJSON(a.out, "summary", s)
		return
	}
	if p.flags.count {
		a.say("%d", s.Count)
	}
	parts := []string{p.counted()}
	if s.Limited {
		parts[0] += " (--limit)"
	}
	parts = append(parts, took(time.Duration(s.Elapsed)))
	for i := range s.Devices {
		parts = append(parts, a.ageOf(&s.Devices[i]))
	}
	a.note("%s", strings.Join(parts, " · "))
	for _, d := range s.Devices {
		for _, n := range d.Notes {
			a.note("note: %s: %s", quote(d.Device), n)
		}
	}
	if s.Missing != "" && s.Count > 0 {
		a.note("note: not everything could be searched: %s", oneLine(s.Missing))
	}
}

// counted says how many of what were printed: "3 files, 1 folder".
func (p *hitPrinter) counted() string {
	var parts []string
	for _, k := range []struct {
		kind index.Kind
		noun string
	}{{index.KindFile, "file"}, {index.KindDir, "folder"}, {index.KindSymlink, "symlink"}, {index.KindOther, "other"}} {
		if n := p.kinds[k.kind]; n > 0 {
			parts = append(parts, count(n, k.noun))
		}
	}
	if len(parts) == 0 {
		return "nothing found"
	}
	return strings.Join(parts, ", ")
}

// ageOf says how old a device's part of an answer is: "nas OFFLINE, as of 3 h ago (09:41)".
func (a *app) ageOf(d *deviceAsOf) string {
	s := quote(d.Device)
	if !d.Connected {
		s += " " + a.paint(yellow, "OFFLINE,", a.errTTY)
	}
	return s + " as of " + asOf(d.AsOf, a.now())
}
