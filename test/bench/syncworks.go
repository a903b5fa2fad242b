package main

import (
	"context"
	"errors"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
)

// pushPause is longer than the pause between two notices of a location.
const pushPause = 2100 * time.Millisecond

// strategy is one way to bring entries from one device to another, or changes.
type strategy struct {
	name      string
	missing   string             // why it can't be measured; "" = it can
	configure func(*node.Config) // of both devices; nil = nothing
	entries   int64              // unless -entries or -paths say so; 0 = 1,000,000
	changes   int                // unless -changes says so

	// first brings all entries to a receiver whose data folder is given, and changed brings -changes changes to a replica.
	// nil = there is no such thing.
	first, changed func(ctx context.Context, b *syncBench, dir string) (syncSample, error)
	// firstBy and changedBy name the transfer that has to take place, as progress names it; "" = any.
	firstBy, changedBy string
	// verify is how the receiver's entries are compared; nil = as those of a replica.
	verify func(ctx context.Context, b *syncBench, dir string) error
}

// strategies are those that can be measured.
func strategies() []strategy {
	return []strategy{
		{name: "auto", first: firstSync, changed: changedSync},
		{name: "batch", configure: always("batch"), first: firstSync, firstBy: "batch-full", changed: changedSync, changedBy: "batch-delta"},
		{name: "compact", configure: always("compact"), first: firstSync, firstBy: "compact"},
		{name: "native", configure: always("native"), first: firstSync, firstBy: "native"},
		{name: "change", changes: 1, changed: pushedSync},
		{name: "reconcile", changes: 100, changed: reconcileSync, changedBy: "reconcile"},
		{name: "individual", entries: 100_000, first: individualSync, verify: verifyIndividual},
		{name: "lazy", missing: "devices don't ask each other for listings in this version"},
	}
}

// always configures devices to fill replicas in one way.
func always(how string) func(*node.Config) {
	return func(c *node.Config) { c.Strategy = how }
}

// findStrategy returns the strategy of a name, or nil.
func findStrategy(name string) *strategy {
	for _, s := range strategies() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

func strategyNames() (names []string) {
	for _, s := range strategies() {
		names = append(names, s.name)
	}
	return names
}

// syncSample is what one run took.
type syncSample struct {
	took               cost   // wall time only
	each               timing // of several that follow each other, wall time only; took is nothing then
	provider, receiver usage
	used               []string // strategies, as progress names them
	reconnect          float64
	reconnectWire      moved
	floor              cost
}

// firstSync brings all entries to a device that holds nothing. The clock runs on the receiver, from the moment when the
// connection stands until the replica is proved and in place.
func firstSync(ctx context.Context, b *syncBench, dir string) (s syncSample, err error) {
	if s, err = b.fill(ctx, dir); err != nil {
		return s, err
	}
	// Again, with nothing to do.
	p, err := b.both(ctx, dir)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	a, err := p.receiver.ask(order{Do: "settle", Quiet: settled})
	s.reconnect, s.reconnectWire = a.At.Sub(a.Begin).Seconds(), a.Usage.Wire
	return s, err
}

// fill starts both devices and waits until the receiver holds what the owner has.
func (b *syncBench) fill(ctx context.Context, dir string) (s syncSample, err error) {
	p, err := b.both(ctx, dir)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	a, err := p.receiver.ask(order{Do: "wait", Location: b.loc, Seq: b.seq})
	if err != nil {
		return s, err
	}
	s.took.wall, s.used = a.At.Sub(a.Begin), a.Used
	s.provider, s.receiver, err = p.usage()
	return s, err
}

// changedSync brings scattered changes to a replica that is in sync and connected. The clock runs from the owner's call of
// Commit until the replica stands at its head, and is read in two processes of one machine.
func changedSync(ctx context.Context, b *syncBench, dir string) (syncSample, error) {
	return b.connected(ctx, dir, settled, func(p *pair, s *syncSample) (err error) {
		s.took.wall, s.used, err = b.change(p, order{Seed: b.seed})
		return err
	})
}

// connected brings a replica in sync, starts both devices anew, waits until nothing of ours has moved for so long as quiet,
// and does a work. What they take is counted for the work alone.
func (b *syncBench) connected(ctx context.Context, dir string, quiet time.Duration, work func(*pair, *syncSample) error) (s syncSample, err error) {
	if _, err := b.fill(ctx, dir); err != nil {
		return s, err
	}
	p, err := b.both(ctx, dir)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if _, err := p.receiver.ask(order{Do: "settle", Quiet: quiet}); err != nil {
		return s, err
	}
	provider, receiver, err := p.usage()
	if err != nil {
		return s, err
	}
	if err := work(p, &s); err != nil {
		return s, err
	}
	if s.provider, s.receiver, err = p.usage(); err != nil {
		return s, err
	}
	s.provider.since(&provider)
	s.receiver.since(&receiver)
	return s, nil
}

// change commits -changes changes at the provider, and waits until the receiver stands at the head.
func (b *syncBench) change(p *pair, o order) (took time.Duration, used []string, err error) {
	o.Do, o.Location, o.Changes = "edit", b.loc, b.res.Changes
	done, err := p.provider.ask(o)
	if err != nil {
		return 0, nil, err
	}
	b.seq = done.Seq
	a, err := p.receiver.ask(order{Do: "wait", Location: b.loc, Seq: b.seq})
	return a.At.Sub(done.At), a.Used, err
}

// pushedSync brings a few changes to a replica that is in sync and connected, again and again. Each time all that one led to
// was said, and the pause between two notices of a location has passed, before the next one is committed.
func pushedSync(ctx context.Context, b *syncBench, dir string) (syncSample, error) {
	return b.connected(ctx, dir, pushPause, func(p *pair, s *syncSample) error {
		for range b.commits {
			b.pushed++
			o := order{Seed: b.seed + b.pushed}
			if b.res.Changes == 1 { // of all sorts, one after the other
				o.Skip = int(b.pushed % 10)
			}
			took, used, err := b.change(p, o)
			if err != nil {
				return err
			}
			s.each, s.used = append(s.each, cost{wall: took}), used
			if _, err := p.receiver.ask(order{Do: "settle", Quiet: pushPause}); err != nil {
				return err
			}
		}
		return nil
	})
}

// reconcileSync changes the owner's rows and begins a new epoch while both are off, as one does that was restored from a
// backup, so that the replica has to be compared. The clock runs as for a first sync.
func reconcileSync(ctx context.Context, b *syncBench, dir string) (s syncSample, err error) {
	if _, err := b.fill(ctx, dir); err != nil {
		return s, err
	}
	owner, err := store.Open(b.owner)
	if err != nil {
		return s, err
	}
	var head index.SignedHead
	if err = editSet(ctx, owner, b.loc, b.seed, b.res.Changes); err == nil {
		head, err = owner.NewEpoch(ctx, b.loc, index.Head{})
	}
	if err := errors.Join(err, owner.Close()); err != nil {
		return s, err
	}
	b.seq = head.Seq
	return b.fill(ctx, dir)
}

// since takes away what was there before.
func (u *usage) since(before *usage) {
	u.CPU -= before.CPU
	u.Wire.In -= before.Wire.In
	u.Wire.Out -= before.Wire.Out
}
