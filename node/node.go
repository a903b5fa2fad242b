package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/discovery"
	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/volume"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/guard"
	"github.com/peerdex/peerdex/node/scrub"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/change"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/protocols/pair"
	"github.com/peerdex/peerdex/protocols/query"
	"github.com/peerdex/peerdex/protocols/snapshot"
	"github.com/peerdex/peerdex/protocols/tree"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// errClosing is why work ends when the node closes.
var errClosing = errors.New("the node is closing")

// Node is a peerdex device. Make one with [Open]. See the package comment.
type Node struct {
	view
	cfg     Config
	reach   discovery.Reach
	log     *slog.Logger
	realDir string // data folder without symbolic links
	static  map[peer.ID][]ma.Multiaddr

	ctx    context.Context // ends when Close begins
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	change sync.Mutex // held while locations are added or removed, or the library changes
	own    sync.Mutex // held while a head of an own location is looked at
	events *events
	work   *work
	rescan chan struct{}
	told   chan struct{} // a new head is to be announced
	asked  chan struct{} // a head that a notice told of is to be asked for

	codecs  *wire.Codecs
	traffic *wire.Traffic
	rates   *wire.Rates
	places  *wire.Places               // of bulk streams
	host    atomic.Pointer[guard.Host] // nil before Start
	keeper  *discovery.Keeper
	mdns    *discovery.MDNS
	syncer  *syncer.Syncer
	scrub   *scrub.Scrubber
	window  *pair.Window
	batches *batch.Server
	queries *query.Server
	files   *snapshot.Server
	trees   *tree.Server
	headsOf *heads.Server
	notices *notice.Service
	changes *change.Server
	pushes  *pushes
	taking  *taking
	kept    *kept
	aware   *awareness
	lately  *lately
	talks   *talks
	apart   apart
	losses  *losses
	volumes func(folder string) (volume.Place, error) // volume.Of
	pulls   *pulls
	metered atomic.Bool

	activity scrub.Activity // what the scrub waits for

	mu      sync.Mutex
	started bool
	closed  bool
}

var _ api.Backend = (*Node)(nil)

// Open opens the data folder of a device and makes it if it is not there, with a new identity and a library of one.
// It starts neither goroutines nor a network: see [Node.Start]. Close the node in any case. If another process has the
// folder, the error is an [*Error] that says which.
func Open(cfg Config) (*Node, error) {
	cfg, reach, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(cfg.Dir)
	if err != nil {
		return nil, humane(fmt.Errorf("open %s: %w", cfg.Dir, err))
	}
	n := &Node{
		cfg: cfg, reach: reach, log: cfg.Logger, events: newEvents(), static: map[peer.ID][]ma.Multiaddr{},
		rescan: make(chan struct{}, 1), told: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		codecs: new(wire.Codecs), traffic: new(wire.Traffic),
		rates: wire.NewRates(cfg.LimitDown, cfg.LimitUp), volumes: volume.Of,
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.work, n.pulls = newWork(n.ctx, &n.activity), newPulls()
	n.metered.Store(cfg.Metered)
	n.scrub = scrub.New(n.scrubConfig())
	st.OnDamage(n.suspect)
	n.view = view{st: st, live: &live{n: n, moving: map[movement]Progress{}, speeds: map[movement]*speed{}, failed: map[index.Location]error{}}, likes: newLikes()}
	if err := n.open(); err != nil {
		n.cancel(errClosing)
		return nil, humane(errors.Join(fmt.Errorf("open %s: %w", cfg.Dir, err), st.Close()))
	}
	return n, nil
}

func (n *Node) open() error {
	var err error
	if n.realDir, err = filepath.EvalSymlinks(n.cfg.Dir); err != nil {
		return err
	}
	for _, p := range n.cfg.Peers {
		info, err := discovery.ParsePeerAddr(p)
		if err != nil {
			return err
		}
		n.static[info.ID] = append(n.static[info.ID], info.Addrs...)
	}
	if n.lib, err = openLibrary(n.ctx, n.st, n.cfg.DeviceName); err != nil {
		return err
	}
	if err := n.st.EnterLibrary(n.ctx, n.lib.id()); err != nil {
		return err
	}
	n.syncer = syncer.New(syncer.Config{Situations: n.replicas, Do: n.attempt, Jobs: jobs{n}, Log: n.log})
	n.talks, n.losses = newTalks(), newLosses()
	n.pushes, n.taking, n.kept, n.aware, n.lately = newPushes(), newTaking(), newKept(), newAwareness(), newLately()
	n.changes = change.NewServer(change.ServerConfig{Config: n.wire(), Backend: taker{n}})
	n.window = pair.NewWindow(pair.WindowConfig{Config: n.wire(), Self: n.st.Self(), Admitter: admitter{n}})
	n.places = wire.NewPlaces(0, 0)
	n.batches = batch.NewServer(batch.ServerConfig{Config: n.wire(), Source: source{n}, Places: n.places})
	n.files = snapshot.NewServer(snapshot.ServerConfig{Config: n.wire(), Source: snapshots{n}, Places: n.places})
	n.trees = tree.NewServer(tree.ServerConfig{Config: n.wire(), Source: source{n}})
	n.queries = query.NewServer(query.ServerConfig{Config: n.wire(), Source: answers{n}})
	n.headsOf = heads.NewServer(n.headsConfig())
	n.notices = notice.New(n.noticeConfig())
	return nil
}

// wire is what all protocols share.
func (n *Node) wire() wire.Config {
	return wire.Config{Codecs: n.codecs, Traffic: n.traffic, Rates: n.rates, Log: n.log}
}

func (n *Node) headsConfig() heads.Config {
	return heads.Config{Config: n.wire(), Backend: gossip{n}, Hello: heads.Hello{Software: "peerdex/" + n.cfg.Version}}
}

// Start listens, connects to the other devices, and begins to scan and to sync; it returns when that is under way. ctx
// bounds the start alone: see [Node.Close] for the end. A node starts once.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("start: %w", errClosing)
	}
	if n.started {
		return fmt.Errorf("start: %w", errors.New("the node runs already"))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n.started = true
	h, err := n.listen(ctx)
	if err != nil {
		return err
	}
	n.host.Store(h)
	h.SetStreamHandler(pair.ID, n.window.Handle)
	h.SetStreamHandler(batch.ID, n.batches.Handle)
	h.SetStreamHandler(snapshot.ID, n.files.Handle)
	h.SetStreamHandler(tree.ID, n.trees.Handle)
	h.SetStreamHandler(query.ID, n.queries.Handle)
	h.SetStreamHandler(heads.ID, n.headsOf.Handle)
	h.SetStreamHandler(change.ID, n.changes.Handle)
	n.keeper = discovery.NewKeeper(discovery.KeeperConfig{
		Host: h, Reach: n.reach, Members: n.lib.others, Addrs: n.addrs, OnResult: n.dialed, Logger: n.log,
	})
	n.mdns = discovery.NewMDNS(discovery.MDNSConfig{
		Host: h, Reach: n.reach, Off: n.cfg.NoMDNS, Interfaces: n.cfg.MDNSInterfaces, Wanted: n.lib.hasPeer,
		Missing: n.missing, Found: n.keeper.Found, Logger: n.log,
	})
	watch, err := n.watchPeers(h)
	if err == nil {
		err = n.notices.Start(n.ctx, h, n.noticeLibrary())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start: %w", err), h.Close())
	}
	for _, run := range []func(context.Context) error{
		n.keeper.Run, n.mdns.Run, n.syncer.Run, n.scrub.Run, watch, n.pusher, n.announcer, n.gossiper, n.notices.Run, n.asker, n.pruner,
		func(ctx context.Context) error { n.scanLoop(ctx); return nil },
		func(ctx context.Context) error {
			return discovery.WatchNetwork(ctx, 0, func() { n.keeper.Kick() })
		},
	} {
		n.wg.Go(func() {
			if err := run(n.ctx); err != nil && n.ctx.Err() == nil {
				n.log.Error("background work ended", "error", err)
			}
		})
	}
	return nil
}

// Close ends everything the node does, waits for it, and closes the data folder. What was committed stays; scans and
// transfers under way go on at the next start. Later calls return nil.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.cancel(errClosing)
	errs := []error{
		n.window.Close(), n.batches.Close(), n.files.Close(), n.trees.Close(), n.queries.Close(),
		n.headsOf.Close(), n.notices.Close(), n.changes.Close(),
	}
	n.parted()
	if h := n.host.Load(); h != nil {
		errs = append(errs, h.Close())
	}
	n.wg.Wait()
	n.talks.wait()
	n.remember(context.Background())
	return errors.Join(append(errs, n.st.Close())...)
}

// spawn runs f in the background unless the node is closing. Close waits for it.
func (n *Node) spawn(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.wg.Go(f)
	}
}

// Events yields what happens from now on, until ctx ends or the node closes. A reader that is slow for long misses
// events, and is told so by one of type "reset".
func (n *Node) Events(ctx context.Context) iter.Seq2[Event, error] {
	return n.events.stream(ctx, n.ctx)
}

// Identity is the device's key; the public half is its name in the library and on the network.
func (n *Node) Identity() ed25519.PublicKey { return n.st.Identity().Public().(ed25519.PublicKey) }

// byRef describes one location.
func (n *Node) byRef(ctx context.Context, l index.Location) (Location, error) {
	locs, err := n.Locations(ctx)
	if err != nil {
		return Location{}, err
	}
	for _, x := range locs {
		if x.Ref() == l {
			return x, nil
		}
	}
	return Location{Owner: l.Owner, ID: l.ID, Device: n.lib.name(l.Owner), Own: l.Owner == n.st.Self()}, nil
}

// committed tells that an own location has a new head: one event, however many entries changed.
func (n *Node) committed(l index.Location) {
	n.pushes.pacer.Add(l) // which tells the others, too
	if loc, err := n.byRef(n.ctx, l); err == nil {
		n.events.emit(Event{Type: api.EventBulkIndexComplete, Location: &loc})
	}
}

// updated tells that a replica changed.
func (n *Node) updated(kind string, l index.Location) {
	if loc, err := n.byRef(n.ctx, l); err == nil {
		n.events.emit(Event{Type: kind, Location: &loc})
	}
}

func (n *Node) wakeScan() { poke(n.rescan) }

// announce makes the connected devices hear of new heads soon.
func (n *Node) announce() { poke(n.told) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
