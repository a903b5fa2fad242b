package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/query"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// How long one provider may take for one answer, and for one that it may have to read all of the location for.
const (
	askTimeout  = 5 * time.Second
	seekTimeout = 12 * time.Second
)

// errHeld is returned when nobody can be asked about a location, and the replica that is kept of it is the best there is.
var errHeld = errors.New("the replica answers")

// far is a location that is asked for on demand.
type far struct {
	loc    index.Location
	newest index.SignedHead // heard
	record index.Record     // of that head
	from   []index.DeviceID // connected ones that have it, the best first
	held   *index.SignedHead
}

func (f *far) base() string { return f.record.Base() }

// farAway lists the locations that are asked for on demand, of those that of accepts.
func (v *view) farAway(ctx context.Context, of func(index.Location) bool) ([]far, error) {
	sits, err := v.situations(ctx)
	if err != nil {
		return nil, err
	}
	sits = slices.DeleteFunc(sits, func(s syncer.Situation) bool { return s.Location.Owner == v.st.Self() || !of(s.Location) })
	var heard map[index.Location][]store.Heard
	var out []far
	for i := range sits {
		s := &sits[i]
		is, err := v.isFar(ctx, s)
		if err != nil {
			return nil, err
		}
		if !is {
			continue
		}
		if heard == nil {
			if heard, err = v.st.AllHeard(ctx); err != nil {
				return nil, err
			}
		}
		f := far{loc: s.Location, from: providers(s), held: s.Held}
		f.newest, _ = s.Newest()
		known := false
		for _, h := range heard[s.Location] {
			if h.Head.Record == f.newest.Record {
				known = f.record.UnmarshalBinary(h.Record) == nil
			}
		}
		if known {
			out = append(out, f)
		}
	}
	return out, nil
}

// isFar reports whether a location is to be asked for on demand. With nobody to ask, one that was asked for before is,
// since the cache may know.
func (v *view) isFar(ctx context.Context, s *syncer.Situation) (bool, error) {
	p := syncer.Decide(s)
	switch {
	case p.Strategy == syncer.OnDemand:
		return true, nil
	case s.Held != nil || s.Frozen || s.Same != "" || s.Retired == index.Retired || s.Policy != syncer.Auto || p.Strategy != syncer.Nothing:
		return false, nil
	}
	if _, ok := s.Newest(); !ok {
		return false, nil
	}
	return v.st.HasAnswers(ctx, s.Location)
}

// providers are the devices to ask, in this order: the owner, direct ones before relayed ones, higher heads first.
func providers(s *syncer.Situation) []index.DeviceID {
	can := slices.DeleteFunc(slices.Clone(s.Heard), func(h syncer.Heard) bool { return !h.Held || !h.Reachable })
	last := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	slices.SortFunc(can, func(a, b syncer.Heard) int {
		return cmp.Or(
			last(a.Device != s.Location.Owner)-last(b.Device != s.Location.Owner), last(a.Link == syncer.LinkRelayed)-last(b.Link == syncer.LinkRelayed),
			cmp.Compare(b.Head.Epoch.Counter, a.Head.Epoch.Counter), cmp.Compare(b.Head.Seq, a.Head.Seq), slices.Compare(a.Device[:], b.Device[:]))
	})
	out := make([]index.DeviceID, len(can))
	for i := range can {
		out[i] = can[i].Device
	}
	return out
}

// reply is an answer, as of when it is true, and where it came from.
type reply struct {
	query.Answer
	asOf time.Time
	via  *api.Via
}

// ask answers a question about a location: from the cache if that is as new as what is heard, else from the first provider
// that answers, else from what is there. errHeld says that the replica is the best there is.
func (v *view) ask(ctx context.Context, f *far, r *query.Request) (reply, error) {
	return v.askFor(ctx, f, r, true)
}

// askFor is ask, and says whether the answer is to be remembered.
func (v *view) askFor(ctx context.Context, f *far, r *query.Request, keep bool) (reply, error) {
	r.Location = f.loc
	question := r.Question()
	cached, by, err := v.cached(ctx, r, question)
	if err != nil {
		return reply{}, err
	}
	if cached != nil && !behind(&cached.Head, &f.newest) && (by == f.loc.Owner || !slices.Contains(f.from, f.loc.Owner)) {
		return v.replyOf(f, cached, by, true), nil
	}
	var failed error
	for _, d := range f.from {
		a, err := v.askDevice(ctx, d, r, cached)
		if ctx.Err() != nil {
			return reply{}, context.Cause(ctx)
		}
		if err != nil {
			v.live.n.log.Debug("ask on demand", "location", f.loc, "device", d, "error", err)
			failed = cmpErr(failed, fmt.Errorf("%s %w", v.lib.name(d), plainAskError(err)))
			continue
		}
		if cached != nil && behind(&a.Head, &cached.Head) { // the provider is not as far as another was
			return v.replyOf(f, cached, by, true), nil
		}
		if keep {
			v.remember(ctx, f.loc, question, &store.Answer{Head: a.Head, Record: a.Record, Device: d, Found: a.Found, Body: a.Body})
		}
		return v.replyOf(f, &a, d, false), nil
	}
	switch {
	case f.held != nil && (cached == nil || !behind(f.held, &cached.Head)):
		return reply{}, errHeld
	case cached != nil:
		return v.replyOf(f, cached, by, true), nil
	}
	return reply{}, v.cantAsk(f, failed)
}

func (v *view) remember(ctx context.Context, l index.Location, question index.Hash, a *store.Answer) {
	if err := v.st.KeepAnswer(ctx, question, a); err != nil && ctx.Err() == nil {
		v.warn("an answer could not be cached", l, err)
	}
}

// cached returns the answer that the cache has and who gave it, nil if it has none that can be used.
func (v *view) cached(ctx context.Context, r *query.Request, question index.Hash) (*query.Answer, index.DeviceID, error) {
	kept, err := v.st.Answer(ctx, r.Location, question)
	switch {
	case ctx.Err() != nil:
		return nil, kept.Device, context.Cause(ctx)
	case errors.Is(err, store.ErrNotFound):
		return nil, kept.Device, nil
	case err != nil: // a cache that can't be read must not keep anything from working
		v.warn("the cache can't be read", r.Location, err)
		return nil, kept.Device, nil
	case kept.Head.Library != v.lib.id():
		return nil, kept.Device, nil
	}
	a, err := r.Read(query.State{Head: kept.Head, Record: kept.Record}, kept.Found, kept.Body)
	if err != nil {
		v.warn("a cached answer can't be read", r.Location, err)
		return nil, kept.Device, nil
	}
	return &a, kept.Device, nil
}

// askDevice asks one device. What it says is the answer that is cached, comes back as that with its head.
func (v *view) askDevice(ctx context.Context, d index.DeviceID, r *query.Request, cached *query.Answer) (query.Answer, error) {
	n := v.live.n
	p, err := wire.PeerOf(d)
	if err != nil {
		return query.Answer{}, err
	}
	within := askTimeout
	if r.Op == query.OpSearch || r.Op == query.OpTotals {
		within = seekTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, "query"), p, query.ID)
	if err != nil {
		return query.Answer{}, fmt.Errorf("open stream: %w", err)
	}
	q := *r
	q.Codecs = wire.AllCodecs
	if cached != nil && cached.Found {
		q.Known = query.Digest(cached.Body)
	}
	a, err := query.Ask(ctx, s, &q, query.Options{Config: n.wire(), Library: n.lib.id(), VerifyHead: n.verifyHead})
	if err == nil {
		err = n.judgeAnswer(ctx, &a.Head)
	}
	if err != nil || !a.Same {
		return a, err
	}
	return r.Read(a.State, true, cached.Body)
}

// judgeAnswer freezes the location if its owner signed another head that can't be true beside that of an answer.
func (n *Node) judgeAnswer(ctx context.Context, head *index.SignedHead) error {
	known, err := n.st.HeardOf(ctx, head.Location)
	if err != nil {
		return err
	}
	for i := range known {
		if index.Compare(&head.Head, &known[i].Head.Head) != index.Equivocation {
			continue
		}
		if err := n.judge(ctx, *head, known[i].Head); err != nil {
			return err
		}
		n.updated(api.EventLocationUpdated, head.Location)
		return fmt.Errorf("%w: two heads that cannot both be true", wire.ErrMalformed)
	}
	return nil
}

func (v *view) replyOf(f *far, a *query.Answer, by index.DeviceID, cached bool) reply {
	out := reply{
		Answer: *a, asOf: a.Head.Time(),
		via: &api.Via{Device: v.lib.name(by), Unverified: by != f.loc.Owner, Cached: cached},
	}
	if index.Compare(&f.newest.Head, &a.Head.Head) == index.Later {
		out.asOf = f.newest.Time()
	}
	return out
}

// behind reports whether b is a newer state than a.
func behind(a, b *index.SignedHead) bool {
	o := index.Compare(&b.Head, &a.Head)
	return o == index.Newer || o == index.NewEpoch
}

func cmpErr(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

// plainAskError says in words why a device did not answer.
func plainAskError(err error) error {
	switch {
	case errors.Is(err, wire.ErrBusy):
		return fmt.Errorf("is busy (%w)", err)
	case errors.Is(err, wire.ErrNoReplica):
		return fmt.Errorf("no longer has it (%w)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("did not answer in time (%w)", err)
	}
	return fmt.Errorf("did not answer (%w)", err)
}

// cantAsk is the error when nobody can be asked about a location.
func (v *view) cantAsk(f *far, failed error) error {
	name := v.lib.name(f.loc.Owner) + ": " + f.record.Name
	e := &Error{
		Code: api.CodeUnavailable, Title: name + " can't be asked now", Detail: v.whyNot(failed),
		Hint: "to keep a copy here, when it is connected: peerdex sync " + v.lib.name(f.loc.Owner) + ":" + f.record.Name,
	}
	if v.live == nil {
		e.Hint = "peerdex up"
	}
	return explain(e, failed)
}

func (v *view) whyNot(failed error) string {
	switch {
	case v.live == nil:
		return "this device holds no copy of it, and the daemon is not running"
	case failed == nil:
		return "this device holds no copy of it, and no device that does is connected"
	}
	return failed.Error()
}
