package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

const (
	// What a row costs on the wire in a transfer of all and of changes, before any was measured. Bytes.
	fullRowBytes  = 26
	deltaRowBytes = 40

	// measureRows is how many rows a transfer must have for its rate to say something.
	measureRows = 1000

	// maxSyncFailures is how many failed transfers end [Node.Sync]. Between them the syncer tries other providers.
	maxSyncFailures = 3
)

// pulls are the locations that a person wants now, whatever their policy, by how many calls.
type pulls struct {
	mu   sync.Mutex
	want map[index.Location]int
}

func newPulls() *pulls { return &pulls{want: map[index.Location]int{}} }

func (p *pulls) has(l index.Location) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want[l] > 0
}

func (p *pulls) add(l index.Location, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want[l] += n; p.want[l] == 0 {
		delete(p.want, l)
	}
}

// measured is a transfer from one provider.
type measured struct {
	entries, bytes int64
	took           time.Duration
}

func rateSetting(d index.DeviceID) string { return "rate:" + d.String() }

// measure remembers how fast a transfer was.
func (n *Node) measure(ctx context.Context, from index.DeviceID, p *Progress) {
	if p.DoneEntries < measureRows || p.Elapsed <= 0 {
		return
	}
	var b []byte
	for _, v := range []int64{p.DoneEntries, p.DoneBytes, int64(p.Elapsed)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	n.keep(n.st.SetSetting(ctx, rateSetting(from), b))
}

// lastRate is how fast the last transfer from a device was; zero if none was measured.
func (n *Node) lastRate(ctx context.Context, from index.DeviceID) (measured, error) {
	v, err := n.st.Setting(ctx, rateSetting(from))
	if errors.Is(err, store.ErrNotFound) {
		return measured{}, nil
	}
	b, ok := v.([]byte)
	if err != nil || !ok || len(b) != 24 {
		return measured{}, err
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return measured{at(0), at(1), time.Duration(at(2))}, nil
}

// SyncCost says what [Node.Sync] would have to fetch, as far as it can be told before.
func (n *Node) SyncCost(ctx context.Context, r SyncRequest) (SyncCost, error) {
	loc, s, p, err := n.toSync(ctx, r)
	if err != nil {
		return SyncCost{}, humane(err)
	}
	out := SyncCost{Location: loc}
	if p.Idle() || p.Provider.IsZero() {
		return out, nil
	}
	out.Provider = n.lib.name(p.Provider)
	rowBytes := int64(fullRowBytes)
	if out.Entries = p.Offer.Count; s.Held != nil && s.Held.Epoch == p.Offer.Epoch {
		rowBytes = deltaRowBytes
		out.Entries = min(p.Offer.Seq-s.Held.Seq, p.Offer.Count)
	}
	out.Bytes = out.Entries * rowBytes
	last, err := n.lastRate(ctx, p.Provider)
	if err != nil {
		return out, humane(err)
	}
	if last.took > 0 {
		out.Duration = time.Duration(float64(last.took) * float64(out.Entries) / float64(last.entries))
	}
	return out, nil
}

// toSync finds the location that is meant, and what the syncer would do if its policy were to hold a replica.
func (n *Node) toSync(ctx context.Context, r SyncRequest) (Location, syncer.Situation, syncer.Plan, error) {
	var none syncer.Situation
	fail := func(err error) (Location, syncer.Situation, syncer.Plan, error) {
		return Location{}, none, syncer.Plan{}, err
	}
	all, err := n.Locations(ctx)
	if err != nil {
		return fail(err)
	}
	one, of, err := n.resolve(all, r.Location)
	if err != nil {
		return fail(err)
	}
	if one == nil {
		return fail(usage(of.Name+" is a device, not a location", "", "name one of its locations: peerdex locations"))
	}
	if one.Own {
		return fail(usage(one.Name+" is this device's own", "it is not fetched but indexed", "peerdex scan "+one.Name))
	}
	sits, err := n.situations(ctx)
	if err != nil {
		return fail(err)
	}
	for _, s := range sits {
		if s.Location == one.Ref() {
			s.Policy = syncer.Full
			return *one, s, syncer.Decide(&s), n.cantSync(one, &s)
		}
	}
	return fail(notFound("nothing is known of "+one.Device+": "+one.Name+" any more", "peerdex locations"))
}

// cantSync says why a location can't be fetched now, or returns nil.
func (n *Node) cantSync(l *Location, s *syncer.Situation) error {
	title := fmt.Sprintf("%s: %s can't be fetched now", l.Device, l.Name)
	newest, _ := s.Newest()
	switch p := syncer.Decide(s); {
	case s.Frozen, s.Retired == index.Retired:
		return conflict(title, p.Why, "peerdex locations")
	case p.Strategy == syncer.Nothing && (s.Held == nil || behind(s.Held, &newest)):
		return &Error{Code: api.CodeUnavailable, Title: title, Detail: p.Why, Hint: "peerdex devices"}
	}
	return nil
}

// Sync fetches the newest state of a location that a connected device has, whatever the location's policy, and returns
// when it is here.
func (n *Node) Sync(ctx context.Context, r SyncRequest) (Location, error) {
	ctx, release, err := n.hold(ctx)
	if err != nil {
		return Location{}, err
	}
	defer release()
	loc, _, p, err := n.toSync(ctx, r)
	if err != nil {
		return Location{}, humane(err)
	}
	if err := n.fetchNow(ctx, loc.Ref(), &p); err != nil {
		return Location{}, humane(err)
	}
	return n.byRef(ctx, loc.Ref())
}

// fetchNow makes the syncer fetch a location, and waits until what the plan promised is here.
func (n *Node) fetchNow(ctx context.Context, l index.Location, p *syncer.Plan) error {
	n.pulls.add(l, 1)
	defer n.syncer.Kick()
	defer n.pulls.add(l, -1)
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := n.Events(listening) // from here on: what happens next is not missed
	n.syncer.Retry()
	goal := p.Offer
	if p.Provider.IsZero() {
		goal = p.Target
	}
	if done, err := n.fetched(ctx, l, &goal); done || err != nil {
		return err
	}
	failures := 0
	for e := range changes {
		switch {
		case e.Progress != nil && e.Progress.Finished && e.Progress.Error != "" && e.Progress.Location == l:
			if failures++; failures == maxSyncFailures {
				return &Error{Code: api.CodeFailed, Title: "the transfer failed", Detail: e.Progress.Error, Hint: "peerdex status"}
			}
			n.syncer.Retry() // a person waits
		case e.Location != nil && e.Location.Ref() == l, e.Device != nil, e.Type == api.EventReset:
			if done, err := n.fetched(ctx, l, &goal); done || err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// fetched reports whether a state is here, or an error if it can't come.
func (n *Node) fetched(ctx context.Context, l index.Location, goal *index.SignedHead) (bool, error) {
	sits, err := n.situations(ctx)
	if err != nil {
		return false, err
	}
	for i := range sits {
		s := &sits[i]
		switch {
		case s.Location != l:
		case s.Held != nil && !behind(s.Held, goal):
			return true, nil
		case n.live.syncing(l):
			return false, nil
		default:
			loc, err := n.byRef(ctx, l)
			if err != nil {
				return false, err
			}
			return false, n.cantSync(&loc, s)
		}
	}
	return false, notFound("nothing is known of the location any more", "peerdex locations")
}
