package node

import (
	"context"
	"errors"
	"iter"
	"os"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/scan"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// A scan that would delete more than this share of a location's entries, or more than this many, deletes nothing
// until a second scan agrees: an unplugged disk looks like that too.
const (
	heldShare = 5 // one in five: 20 %
	heldCount = 10_000
)

// maxScanPaths bounds the unreadable paths that are remembered.
const maxScanPaths = 10

// Scan scans one location of this device, or all of them, and returns when it is done.
func (n *Node) Scan(ctx context.Context, r ScanRequest) ([]ScanResult, error) {
	locs, err := n.Locations(ctx)
	if err != nil {
		return nil, err
	}
	if r.Location != "" {
		loc, err := n.location(ctx, r.Location)
		if err != nil {
			return nil, err
		}
		if loc.Root == "" {
			return nil, usage(loc.Name+" has no folder to scan", "it is fed by an application", "")
		}
		if loc.State == api.StateArchived {
			return nil, usage(loc.Name+" is not scanned any more", "it was removed and is kept as it was", "")
		}
		if lost(&loc) {
			return nil, unavailable(&loc)
		}
		locs = []Location{loc}
	}
	out := []ScanResult{}
	for _, l := range locs {
		if !scannable(&l) || lost(&l) {
			continue
		}
		res, err := n.scanLocation(ctx, l.Ref(), time.Time{})
		if err != nil {
			return out, humane(err)
		}
		out = append(out, res)
	}
	return out, nil
}

func scannable(l *Location) bool {
	return l.Own && l.Root != "" && l.State != api.StateArchived && l.State != api.StateRetired
}

// scanLocation scans one location; a second caller waits for the first. It does nothing if a scan began after since
// meanwhile; a zero since always scans.
func (n *Node) scanLocation(ctx context.Context, l index.Location, since time.Time) (ScanResult, error) {
	ctx, release, err := n.work.begin(ctx, l)
	if err != nil {
		return ScanResult{}, err
	}
	defer release()
	held, err := n.st.Held(ctx, l)
	if err != nil {
		return ScanResult{}, err
	}
	if held.Record.Retired != index.Active {
		return ScanResult{}, notFound(held.Record.Name+" was removed", "")
	}
	last, err := n.st.ScanState(ctx, l.ID)
	if err != nil {
		return ScanResult{}, err
	}
	if !since.IsZero() && last.Started.After(since) {
		return ScanResult{HeldDeletions: last.HeldCount}, nil
	}
	s := &scanning{n: n, loc: l, held: held, last: last, started: time.Now()}
	err = s.run(ctx)
	return s.result(ctx, err)
}

// scanning is one scan of one location.
type scanning struct {
	n       *Node
	loc     index.Location
	held    store.Held
	last    store.ScanState
	started time.Time

	walk    *scan.Scan
	commit  store.CommitResult
	hold    []int64 // roots of what waits for a second scan
	holdSum int64
	tick    throttle
}

// known is what the store knows of a location, for the walker.
type known struct {
	st  *store.Store
	loc index.Location
}

func (k known) Children(ctx context.Context, parent int64) iter.Seq2[index.Entry, error] {
	return k.st.Children(ctx, k.loc, parent)
}

func (s *scanning) run(ctx context.Context) error {
	root, err := s.n.st.Entry(ctx, s.loc, index.RootID)
	if err != nil {
		return err
	}
	s.walk = scan.New(scan.Config{
		Root: s.held.Record.Root, RootEntry: root, NextID: s.held.Head.NextID, Known: known{s.n.st, s.loc},
		HasEntries: s.held.Head.Count > 1, Skip: s.n.skip, Progress: s.progress,
	})
	s.commit, err = s.n.st.Commit(ctx, s.loc, s.changes(ctx), store.CommitOptions{AsOf: s.asOf})
	return err
}

// asOf is the end of the scan, unless deletions wait: then the index is not known to be true.
func (s *scanning) asOf() time.Time {
	if len(s.hold) > 0 {
		return time.Time{}
	}
	return time.Now()
}

// changes yields what the walk finds, then the deletions that need not wait.
func (s *scanning) changes(ctx context.Context) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for ch, err := range s.walk.Changes(ctx) {
			if !yield(ch, err) || err != nil {
				return
			}
		}
		missing, err := s.decide(ctx)
		if err != nil {
			yield(index.Change{}, err)
			return
		}
		next := s.walk.Result().NextID
		for _, m := range missing {
			if !yield(index.Change{Op: index.Delete, Entry: index.Entry{ID: m.ID}}, nil) {
				return
			}
			if m.Replacement == nil {
				continue
			}
			e := *m.Replacement
			e.ID = next
			next++
			if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
				return
			}
		}
	}
}

// decide returns what is deleted now: what the scan before this one missed too, and the rest if it isn't much.
func (s *scanning) decide(ctx context.Context) ([]scan.Missing, error) {
	missing := s.walk.Result().Missing
	before := map[int64]bool{}
	for _, id := range s.last.Held {
		before[id] = true
	}
	var agreed, fresh []scan.Missing
	var ids []int64
	for _, m := range missing {
		if before[m.ID] {
			agreed = append(agreed, m)
			continue
		}
		fresh = append(fresh, m)
		ids = append(ids, m.ID)
	}
	count, err := s.n.st.SubtreeSize(ctx, s.loc, ids)
	if err != nil {
		return nil, err
	}
	known := s.held.Head.Count - 1 // what was there before this scan, without the root
	if count > heldCount || count*heldShare > known {
		s.hold, s.holdSum = ids, count
		return agreed, nil
	}
	return append(agreed, fresh...), nil
}

func (s *scanning) progress(p scan.Progress) {
	s.n.report(Progress{
		Location: s.loc, Name: s.held.Record.Name, Phase: api.PhaseScan, DoneEntries: p.Files + p.Folders,
		TotalEntries: s.total(), Elapsed: p.Elapsed,
	}, &s.tick)
}

// total is what the scan before this one left; nothing is known at the first.
func (s *scanning) total() int64 {
	if s.held.Head.AsOf == 0 {
		return 0
	}
	return s.held.Head.Count
}

// result remembers how the scan went, tells it, and returns it. A volume that is away is a result, not an error.
func (s *scanning) result(ctx context.Context, err error) (ScanResult, error) {
	state := store.ScanState{State: api.StateCurrent, Started: s.started, Took: time.Since(s.started), Held: s.hold, HeldCount: s.holdSum}
	switch {
	case err == nil:
	case errors.Is(err, scan.ErrRootMissing):
		state.State, state.Detail = api.StateAway, "the folder "+s.held.Record.Root+" is missing; is its disk plugged in?"
	case errors.Is(err, scan.ErrRootEmpty):
		state.State, state.Detail = api.StateAway, "the folder "+s.held.Record.Root+" is empty; is its disk mounted?"
	case errors.Is(err, scan.ErrRootNotFolder):
		state.State, state.Detail = api.StateAway, s.held.Record.Root+" is not a folder any more"
	case errors.Is(err, scan.ErrRootUnreadable):
		state.State, state.Detail = api.StateUnreadable, err.Error()
	default:
		if ctx.Err() == nil {
			s.n.live.scanEnded(s.loc, err)
		}
		s.n.endReport(s.loc, api.PhaseScan, err)
		return ScanResult{}, err
	}
	s.n.live.scanEnded(s.loc, nil)
	if err != nil {
		state.Held, state.HeldCount = s.last.Held, s.last.HeldCount
	}
	if err == nil {
		if err := s.n.placed(ctx, s.loc, &s.held.Record); err != nil {
			return ScanResult{}, err
		}
	}
	walked := s.walk.Result()
	state.Unreadable = walked.UnreadableTotal
	for _, u := range walked.Unreadable[:min(len(walked.Unreadable), maxScanPaths)] {
		state.Paths = append(state.Paths, u.Path+": "+reason(u.Err))
	}
	if err := s.n.st.SetScanState(ctx, s.loc.ID, state); err != nil {
		return ScanResult{}, err
	}
	s.n.endReport(s.loc, api.PhaseScan, nil)
	s.n.committed(s.loc)
	loc, err := s.n.byRef(ctx, s.loc)
	loc.State = state.State // the scan itself is still under way in the node's eyes
	return ScanResult{
		Location: loc, Files: walked.Files, Folders: walked.Folders, Changed: s.commit.Put, Deleted: s.commit.Deleted,
		HeldDeletions: s.holdSum, Unreadable: walked.UnreadableTotal, Duration: state.Took,
	}, err
}

// reason is the short form of an error of the file system.
func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// skip leaves our own data folder out of every index.
func (n *Node) skip(path string) bool { return path == n.realDir }

// scanLoop scans every location at start, then at its times.
func (n *Node) scanLoop(ctx context.Context) {
	due := map[index.Location]time.Time{}
	start := time.Now()
	for {
		next := n.scanDue(ctx, start, due)
		var wait <-chan time.Time
		if !next.IsZero() {
			wait = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-n.rescan:
		case <-wait:
		}
	}
}

// scanDue scans what is due, and returns when to look again; zero if only an event can change anything. A location that
// it sees for the first time is due unless somebody else scanned it since the start.
func (n *Node) scanDue(ctx context.Context, start time.Time, due map[index.Location]time.Time) time.Time {
	locs, err := n.Locations(ctx)
	if err != nil {
		n.log.Error("scan", "error", err)
		return time.Now().Add(n.cfg.ConfirmAfter)
	}
	var next time.Time
	for _, l := range locs {
		if !scannable(&l) || lost(&l) && !n.begunAnew(ctx, &l) {
			continue
		}
		at, seen := due[l.Ref()]
		if soon := n.losses.takeScan(l.Ref()); soon || !seen || !at.IsZero() && !time.Now().Before(at) {
			since := start
			if seen {
				since = time.Now()
			}
			at = n.scanOnce(ctx, &l, since)
			due[l.Ref()] = at
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// begunAnew begins a lost location anew if nobody can have a replica of it, and reports whether it did.
func (n *Node) begunAnew(ctx context.Context, l *Location) bool {
	if l.State != api.StateLost || !n.nobodyHolds(ctx, l.Ref()) {
		return false
	}
	err := n.beginAnew(ctx, l.Ref())
	if err != nil && ctx.Err() == nil {
		n.log.Error("begin a lost index anew", "location", l.Name, "error", err)
	}
	if err == nil {
		n.scanSoon(l.Ref())
	}
	return err == nil
}

// scanOnce scans a location, unless somebody did since, and returns when to do it again.
func (n *Node) scanOnce(ctx context.Context, l *Location, since time.Time) time.Time {
	res, err := n.scanLocation(ctx, l.Ref(), since)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		n.log.Error("scan", "location", l.Name, "error", err)
	case res.HeldDeletions > 0:
		return time.Now().Add(n.cfg.ConfirmAfter)
	}
	if n.cfg.ScanEvery < 0 {
		return time.Time{}
	}
	return time.Now().Add(n.cfg.ScanEvery)
}
