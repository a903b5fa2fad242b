package main

import (
	"context"
	"errors"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
)

// strategy is one way to bring entries from one device to another, or changes.
type strategy struct {
	name      string
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
		{name: "batch", first: firstSync, firstBy: "batch-full", changed: changedSync, changedBy: "batch-delta"},
		{name: "reconcile", changes: 100, changed: reconcileSync, changedBy: "reconcile"},
		{name: "individual", entries: 100_000, first: individualSync, verify: verifyIndividual},
	}
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
	took               cost // wall time only
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
	a, err := p.receiver.ask(order{Do: "settle"})
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
func changedSync(ctx context.Context, b *syncBench, dir string) (s syncSample, err error) {
	if _, err := b.fill(ctx, dir); err != nil {
		return s, err
	}
	p, err := b.both(ctx, dir)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if _, err := p.receiver.ask(order{Do: "settle"}); err != nil {
		return s, err
	}
	provider, receiver, err := p.usage()
	if err != nil {
		return s, err
	}
	done, err := p.provider.ask(order{Do: "edit", Location: b.loc, Changes: b.res.Changes, Seed: b.seed})
	if err != nil {
		return s, err
	}
	b.seq = done.Seq
	a, err := p.receiver.ask(order{Do: "wait", Location: b.loc, Seq: b.seq})
	if err != nil {
		return s, err
	}
	s.took.wall, s.used = a.At.Sub(done.At), a.Used
	if s.provider, s.receiver, err = p.usage(); err != nil {
		return s, err
	}
	s.provider.since(&provider)
	s.receiver.since(&receiver)
	return s, err
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
