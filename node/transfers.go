package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// jobs keeps the syncer's queue in node.db.
type jobs struct{ n *Node }

var _ syncer.Jobs = jobs{}

// Jobs reads the queue.
func (j jobs) Jobs(ctx context.Context) ([]syncer.Job, error) { return storedJobs(ctx, j.n.st) }

func storedJobs(ctx context.Context, st *store.Store) ([]syncer.Job, error) {
	kept, err := st.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]syncer.Job, len(kept))
	for i, k := range kept {
		out[i] = syncer.Job{
			Location: k.Location, State: syncer.State(k.State), Head: k.Head, Strategy: syncer.Strategy(k.Strategy), Provider: k.Provider,
			Done: k.Done, Total: k.Total, Attempts: k.Attempts, Next: k.Next, Error: k.Error,
		}
	}
	return out, nil
}

// SetJob keeps a job.
func (j jobs) SetJob(ctx context.Context, x syncer.Job) error {
	return j.n.st.SetJob(ctx, store.Job{
		Location: x.Location, State: string(x.State), Head: x.Head, Strategy: string(x.Strategy), Provider: x.Provider,
		Done: x.Done, Total: x.Total, Attempts: x.Attempts, Next: x.Next, Error: x.Error,
	})
}

// EndJob forgets a job.
func (j jobs) EndJob(ctx context.Context, l index.Location) error { return j.n.st.EndJob(ctx, l) }

// Discard drops what was received.
func (j jobs) Discard(_ context.Context, l index.Location) error { return j.n.st.DropStaging(l) }

// patience makes of a provider's answer that it has no room what the syncer understands.
func patience(err error) error {
	if st, ok := errors.AsType[wire.Status](err); ok && st.Code == wire.CodeBusy {
		return &syncer.BusyError{After: st.RetryAfter, Err: err}
	}
	return err
}

// queue reads the jobs, from the syncer or without a running node as they were kept.
func (v *view) queue(ctx context.Context) ([]syncer.Job, error) {
	if v.live != nil {
		return v.live.n.syncer.Queue(ctx)
	}
	all, err := storedJobs(ctx, v.st)
	for i := range all {
		if all[i].State == syncer.Running {
			all[i].State = syncer.Queued
		}
	}
	return all, err
}

// Transfers lists what is being fetched, what waits for it, and what was stopped.
func (v *view) Transfers(ctx context.Context) (Transfers, error) {
	var out Transfers
	all, err := v.queue(ctx)
	if err != nil {
		return out, humane(err)
	}
	heard, err := v.st.AllHeard(ctx)
	if err != nil {
		return out, humane(err)
	}
	if v.live != nil {
		out.LimitDown, out.LimitUp = v.live.n.cfg.LimitDown, v.live.n.cfg.LimitUp
	}
	for i := range all {
		j := &all[i]
		if j.Location == syncer.All {
			out.Paused = j.State == syncer.Paused
			continue
		}
		out.Transfers = append(out.Transfers, v.transfer(j, heard[j.Location]))
	}
	slices.SortFunc(out.Transfers, func(a, b Transfer) int {
		running := func(t *Transfer) int {
			if t.State == api.TransferRunning {
				return 0
			}
			return 1
		}
		return cmp.Or(running(&a)-running(&b), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// transfer is what people see of a job.
func (v *view) transfer(j *syncer.Job, heard []store.Heard) Transfer {
	t := Transfer{State: string(j.State), Seq: j.Head.Seq, Attempts: j.Attempts, NextTry: j.Next}
	t.Progress = Progress{
		Location: j.Location, Device: v.lib.name(j.Location.Owner), Phase: api.PhaseFetch, Strategy: string(j.Strategy), Error: j.Error,
	}
	if !j.Provider.IsZero() {
		t.Provider = v.lib.name(j.Provider)
	}
	if t.DoneEntries, t.TotalEntries = j.Done, j.Total; t.InBytes() {
		t.DoneBytes, t.TotalBytes, t.DoneEntries, t.TotalEntries = j.Done, j.Total, 0, j.Head.Count
	}
	if newest := newestHeard(heard); newest != nil {
		var rec index.Record
		if rec.UnmarshalBinary(newest.Record) == nil {
			t.Name = rec.Name
		}
	}
	if v.live != nil && j.State == syncer.Running {
		if p := v.live.moves(j.Location); p != nil {
			p.Name, p.Device, p.Error = t.Name, t.Device, j.Error
			t.Progress = *p
		}
	}
	return t
}

// ControlTransfers pauses, resumes or cancels transfers, and returns the queue as it is then. What it stops has stopped when
// it returns.
func (n *Node) ControlTransfers(ctx context.Context, r TransferRequest) (Transfers, error) {
	do := map[api.TransferAction]func(context.Context, index.Location) error{
		api.PauseTransfers: n.syncer.Pause, api.ResumeTransfers: n.syncer.Resume, api.CancelTransfers: n.syncer.Cancel,
	}[r.Action]
	if do == nil {
		return Transfers{}, usage(fmt.Sprintf("%q can't be done to transfers", r.Action), "they are paused, resumed or cancelled", "peerdex transfers --help")
	}
	if r.All == (r.Of != "") {
		return Transfers{}, usage("which transfers are meant?", "", "name a location or a device, or all: peerdex transfers")
	}
	locs, name := []index.Location{syncer.All}, ""
	if !r.All {
		var err error
		if locs, name, err = n.fetchable(ctx, r.Of); err != nil {
			return Transfers{}, humane(err)
		}
	}
	done := 0
	for _, l := range locs {
		switch err := do(ctx, l); {
		case errors.Is(err, syncer.ErrNoJob):
		case errors.Is(err, syncer.ErrAllPaused):
			return Transfers{}, conflict("all transfers are paused", "", "peerdex transfers resume --all")
		case err != nil:
			return Transfers{}, humane(err)
		default:
			done++
		}
	}
	if done == 0 {
		return Transfers{}, conflict("there is no transfer of "+name, "nothing newer of it is known, or it is cancelled already", "peerdex transfers")
	}
	for _, l := range locs {
		if l != syncer.All {
			n.updated(api.EventLocationUpdated, l)
		}
	}
	return n.Transfers(ctx)
}

// fetchable finds the locations of other devices that a person means, and what to call them.
func (n *Node) fetchable(ctx context.Context, ref string) ([]index.Location, string, error) {
	all, err := n.Locations(ctx)
	if err != nil {
		return nil, "", err
	}
	one, of, err := n.resolve(all, ref)
	if err != nil {
		return nil, "", err
	}
	if one != nil {
		if one.Own && one.State != api.StateLost && one.State != api.StateSyncing {
			return nil, "", usage(one.Name+" is this device's own", "it is not fetched but indexed", "peerdex locations")
		}
		return []index.Location{one.Ref()}, one.Device + ": " + one.Name, nil
	}
	var out []index.Location
	for i := range all {
		if all[i].Owner == of.ID && !all[i].Own {
			out = append(out, all[i].Ref())
		}
	}
	if len(out) == 0 {
		return nil, "", notFound("nothing of "+of.Name+" is fetched", "peerdex locations")
	}
	return out, of.Name, nil
}

// speed tells how fast something moves, from what was done over the last seconds. The zero value is ready.
type speed struct {
	seen []moment
}

type moment struct {
	at             time.Time
	entries, bytes int64
}

// speedWindow is how far back a rate looks.
const speedWindow = 5 * time.Second

// measure adds rates, and the time that is left at them, to a progress of now.
func (s *speed) measure(p *Progress, now time.Time) {
	last := len(s.seen) - 1
	if last >= 0 && (p.DoneEntries < s.seen[last].entries || p.DoneBytes < s.seen[last].bytes) {
		s.seen = s.seen[:0] // it began anew
	}
	s.seen = append(s.seen, moment{now, p.DoneEntries, p.DoneBytes})
	for len(s.seen) > 2 && now.Sub(s.seen[1].at) >= speedWindow {
		s.seen = s.seen[1:]
	}
	since := &s.seen[0]
	took := now.Sub(since.at).Seconds()
	if took <= 0 {
		return
	}
	p.EntriesPerSecond = float64(p.DoneEntries-since.entries) / took
	p.BytesPerSecond = float64(p.DoneBytes-since.bytes) / took
	left, rate := float64(p.TotalEntries-p.DoneEntries), p.EntriesPerSecond
	if p.InBytes() {
		left, rate = float64(p.TotalBytes-p.DoneBytes), p.BytesPerSecond
	}
	if left > 0 && rate > 0 {
		p.ETA = time.Duration(min(left/rate, 1e9) * float64(time.Second)).Round(100 * time.Millisecond)
	}
}
