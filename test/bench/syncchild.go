package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/bench/entryset"
)

// syncChild is the subcommand as which the program runs itself for each of the two devices. It takes orders on standard
// input, one JSON object a line, answers each by one line, and ends with its input.
const syncChild = "sync-node"

// settled is how long nothing moves between devices that have said all that they had to.
const settled = time.Second

// order is what the child is to do.
type order struct {
	Do       string         `json:"do"`
	Ticket   string         `json:"ticket,omitempty"`
	Set      string         `json:"set,omitempty"`
	Location index.Location `json:"location,omitzero"`
	Seq      int64          `json:"seq,omitempty"`
	Changes  int            `json:"changes,omitempty"`
	Seed     uint64         `json:"seed,omitempty"`
	Skip     int            `json:"skip,omitempty"`
	Quiet    time.Duration  `json:"quiet,omitempty"`
}

// answer is what came of it.
type answer struct {
	Error    string         `json:"error,omitempty"`
	Addr     string         `json:"addr,omitempty"`
	Ticket   string         `json:"ticket,omitempty"`
	Location index.Location `json:"location,omitzero"`
	Seq      int64          `json:"seq,omitempty"`
	At       time.Time      `json:"at,omitzero"` // the begin of a commit, or when a head was reached
	Begin    time.Time      `json:"begin,omitzero"`
	Used     []string       `json:"used,omitempty"`
	Usage    usage          `json:"usage,omitzero"`
}

// usage is what a process took.
type usage struct {
	CPU  float64 `json:"cpu_seconds"` // so far
	Peak int64   `json:"peak_rss_bytes"`
	Wire moved   `json:"wire"` // so far
}

// syncNode is a device in a process of its own.
type syncNode struct {
	*node.Node
	dir     string
	traffic traffic
	begun   mark // when it was ready

	mu        sync.Mutex
	changed   chan struct{} // closed and made anew with every change of what follows
	connected time.Time
	reached   map[index.Location]reached
	used      []string // strategies of the transfers so far
}

// reached is the newest head that a replica is known to stand at.
type reached struct {
	seq int64
	at  time.Time
}

func runSyncChild(ctx context.Context, args []string, out, notes io.Writer) (err error) {
	fs := flag.NewFlagSet(syncChild, flag.ContinueOnError)
	n := &syncNode{changed: make(chan struct{}), reached: map[index.Location]reached{}}
	fs.StringVar(&n.dir, "dir", "", "data folder")
	name := fs.String("name", "", "of the device")
	peer := fs.String("peer", "", "address of the other device")
	how := fs.String("strategy", "", "strategy that it is told to use")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg := node.Config{
		Dir: n.dir, DeviceName: *name, Reach: "loopback", ScanEvery: -1, Libp2p: []libp2p.Option{libp2p.BandwidthReporter(&n.traffic)},
		Logger: slog.New(slog.NewTextHandler(notes, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if s := findStrategy(*how); s != nil && s.configure != nil {
		s.configure(&cfg)
	}
	if *peer != "" {
		cfg.Peers = []string{*peer}
	}
	if n.Node, err = node.Open(cfg); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { cancel(); err = errors.Join(err, n.Close()); wg.Wait() }()
	events := n.Events(ctx)
	wg.Go(func() {
		for ev := range events {
			n.saw(ev)
		}
	})
	if err := n.Start(ctx); err != nil {
		return err
	}
	n.begun = start()
	return serveOrders(ctx, os.Stdin, out, n.do)
}

// serveOrders carries out orders until there are no more, also in the middle of one. The first line it writes says that it
// is ready.
func serveOrders(ctx context.Context, in io.Reader, out io.Writer, do func(context.Context, *order) (answer, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders := make(chan order, 1)
	orders <- order{Do: "hello"}
	go func() { // ends with the process at the latest
		defer cancel()
		for r := json.NewDecoder(in); ; {
			var o order
			if r.Decode(&o) != nil {
				return
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	w := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-orders:
			a, err := do(ctx, &o)
			if err != nil {
				a = answer{Error: err.Error()}
			}
			if err := w.Encode(&a); err != nil {
				return err
			}
		}
	}
}

// saw takes note of an event.
func (n *syncNode) saw(ev node.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case ev.Type == api.EventDeviceConnected && n.connected.IsZero():
		n.connected = ev.Time
	case ev.Type == api.EventLocationUpdated:
		l := ev.Location
		if l.Seq > n.reached[l.Ref()].seq {
			n.reached[l.Ref()] = reached{l.Seq, ev.Time}
		}
	case ev.Type == api.EventTransferProgress && ev.Progress.Strategy != "":
		if s := ev.Progress.Strategy; !slices.Contains(n.used, s) {
			n.used = append(n.used, s)
		}
	default:
		return
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *syncNode) do(ctx context.Context, o *order) (answer, error) {
	switch o.Do {
	case "hello":
		s, err := n.Status(ctx)
		if err == nil && len(s.Addresses) == 0 {
			err = errors.New("it listens nowhere")
		}
		if err != nil {
			return answer{}, err
		}
		return answer{Addr: s.Addresses[0]}, nil
	case "invite":
		inv, err := n.Invite(ctx)
		return answer{Ticket: inv.Ticket}, err
	case "join":
		_, err := n.Join(ctx, node.JoinRequest{Ticket: o.Ticket})
		return answer{}, err
	case "feed":
		return n.feed(ctx, o)
	case "edit":
		return n.edit(ctx, o)
	case "wait":
		return n.wait(ctx, o)
	case "settle":
		return n.settle(ctx, o.Quiet)
	case "usage":
		return n.usage()
	}
	return answer{}, fmt.Errorf("there is no order %q", o.Do)
}

func (n *syncNode) usage() (answer, error) {
	peak, err := peakRSS()
	wire, _ := n.traffic.ours()
	return answer{Usage: usage{CPU: n.begun.cost().cpuSeconds(), Peak: peak, Wire: wire}}, err
}

// settle waits until nothing of ours has moved for so long: all that was to be said is said.
func (n *syncNode) settle(ctx context.Context, quiet time.Duration) (answer, error) {
	for {
		n.mu.Lock()
		begin := n.connected
		n.mu.Unlock()
		if wire, last := n.traffic.ours(); !begin.IsZero() && !last.IsZero() && time.Since(last) > quiet {
			return answer{Begin: begin, At: last, Usage: usage{Wire: wire}}, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

// feed makes a location of a set.
func (n *syncNode) feed(ctx context.Context, o *order) (answer, error) {
	l, err := n.AddLocation(ctx, node.AddRequest{Name: "bench"})
	if err != nil {
		return answer{}, err
	}
	f, err := os.Open(o.Set)
	if err != nil {
		return answer{}, err
	}
	defer f.Close()
	res, err := n.Commit(ctx, l.Ref(), entryset.Puts(entryset.Load(f)))
	return answer{Location: l.Ref(), Seq: res.Head.Seq}, err
}

// edit commits scattered changes, without the first few of them. They are looked for before the clock starts.
func (n *syncNode) edit(ctx context.Context, o *order) (a answer, err error) {
	s, err := store.OpenReadOnly(n.dir)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	held, err := s.Held(ctx, o.Location)
	if err != nil {
		return a, err
	}
	var changes []index.Change
	get := func(id int64) (index.Entry, bool, error) { return live(ctx, s, o.Location, id) }
	for c, err := range entryset.Edits(o.Seed, o.Skip+o.Changes, held.Head.NextID, get) {
		if err != nil {
			return a, err
		}
		changes = append(changes, c)
	}
	changes = changes[o.Skip:]
	a.At = time.Now()
	res, err := n.Commit(ctx, o.Location, func(yield func(index.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	})
	a.Seq = res.Head.Seq
	if err == nil && res.Put+res.Deleted != int64(o.Changes) {
		err = fmt.Errorf("%d rows changed, want %d", res.Put+res.Deleted, o.Changes)
	}
	return a, err
}

// wait waits until the replica of a location stands at a head, or at a newer one.
func (n *syncNode) wait(ctx context.Context, o *order) (answer, error) {
	for {
		n.mu.Lock()
		r, begin, used, changed := n.reached[o.Location], n.connected, slices.Clone(n.used), n.changed
		n.mu.Unlock()
		if r.seq >= o.Seq && !begin.IsZero() {
			return answer{Begin: begin, At: r.at, Seq: r.seq, Used: used}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}
