package notice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/pace"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Backend is what this device knows, and learns from notices. Safe for concurrent use.
type Backend interface {
	// Head returns the newest head of a location of this device, which is about to be sent; false if there is nothing to
	// say of it any more.
	Head(ctx context.Context, l index.Location) (index.SignedHead, bool, error)
	// Old reports whether a head says nothing that is news to anyone: a newer one is known. One that is known from
	// elsewhere is not old for that. It is asked for every notice before it is passed on, and should be quick.
	Old(ctx context.Context, h index.SignedHead) (bool, error)
	// Heard takes a notice of another device. Calls come one at a time.
	Heard(ctx context.Context, b BulkIndexComplete) error
}

// Config configures a [Service]. Members and Backend are required.
type Config struct {
	Members func(peer.ID) bool // who is a member of the library at this moment; must not block
	Backend Backend
	Every   time.Duration // least time between two notices of a location; 0 = 2 s
	Traffic *wire.Traffic // nil = not counted
	Log     *slog.Logger  // nil = discard
	Observe func(Event)   // told of every message that arrived; must not block; nil = not told
}

// Event is how a message from another device fared.
type Event struct {
	From   peer.ID           // who passed it on
	Author peer.ID           // who it says it is from; not checked in what was dropped early
	Notice BulkIndexComplete // zero if it could not be read
	Err    error             // why it was not taken; nil = it was
}

// Service sends and hears notices. Make one with [New]. It is safe for concurrent use.
type Service struct {
	cfg        Config
	pacer      *pace.Pacer
	neighbours pace.Buckets
	authors    pace.Buckets
	newest     newest
	channel    atomic.Pointer[channel] // of the library that this device is in

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // checks of notices under way
	self   peer.ID
	stop   context.CancelFunc // nil before Start
	ps     *pubsub.PubSub
	host   *gossipHost
	topic  *pubsub.Topic
	sub    *pubsub.Subscription
}

// New returns a service that does nothing yet.
func New(cfg Config) *Service {
	if cfg.Every == 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.Traffic == nil {
		cfg.Traffic = new(wire.Traffic)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg: cfg, pacer: pace.NewPacer(cfg.Every, sendRate()), newest: newest{},
		neighbours: pace.Buckets{Rate: neighbourRate()}, authors: pace.Buckets{Rate: authorRate()},
	}
}

// Start begins to gossip on the topic of a library until ctx ends or the service is closed. The host must open streams
// to members only, and take streams from members only. A service starts once; [Service.Run] does the rest.
func (s *Service) Start(ctx context.Context, h host.Host, lib Library) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ps != nil {
		return fmt.Errorf("start notices: %w", errors.New("closed, or started before"))
	}
	c, err := newChannel(lib)
	if err != nil {
		return fmt.Errorf("start notices: %w", err)
	}
	s.self = h.ID()
	s.channel.Store(c)
	if s.host, err = newGossipHost(h, s.cfg.Traffic); err != nil {
		return fmt.Errorf("start notices: %w", err)
	}
	ctx, s.stop = context.WithCancel(ctx)
	if s.ps, err = pubsub.NewGossipSub(ctx, s.host, s.options()...); err == nil {
		err = s.join(c)
	}
	if err != nil {
		s.stop()
		return fmt.Errorf("start notices: %w", err)
	}
	return nil
}

// join enters the topic of a channel, and leaves the one before.
func (s *Service) join(c *channel) error {
	topic, err := s.ps.Join(c.topic)
	if err != nil {
		return fmt.Errorf("join topic: %w", err)
	}
	sub, err := topic.Subscribe(pubsub.WithBufferSize(queueLen))
	if err != nil {
		return errors.Join(fmt.Errorf("subscribe: %w", err), topic.Close())
	}
	topic, s.topic = s.topic, topic
	sub, s.sub = s.sub, sub
	if sub == nil {
		return nil
	}
	sub.Cancel()
	return topic.Close()
}

// Enter changes to the topic of another library; before Start it does nothing. A neighbour that came to that topic
// earlier is not known to be there before the next connection with it.
func (s *Service) Enter(lib Library) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ps == nil || s.closed {
		return nil
	}
	c, err := newChannel(lib)
	if err != nil {
		return fmt.Errorf("enter library: %w", err)
	}
	if before := s.channel.Swap(c); before.topic == c.topic {
		return nil
	}
	if err := s.join(c); err != nil {
		return fmt.Errorf("enter library: %w", err)
	}
	return nil
}

// Meet says that a connected device is a member and knows that we are one, as an exchange with it shows. Before that
// nothing is gossiped with it. Call it after every such exchange; more than once does no harm.
func (s *Service) Meet(p peer.ID) {
	s.mu.Lock()
	h, ready := s.host, s.topic != nil && !s.closed
	s.mu.Unlock()
	if ready {
		h.meet(p)
	}
}

// Announce says that a location of this device has a new head. It never blocks. Before Run, it is remembered.
func (s *Service) Announce(l index.Location) { s.pacer.Add(l) }

// Run sends what is announced and hands on what is heard, until ctx ends. Call it once, after Start.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		s.pacer.Run(ctx, func(l index.Location) {
			if err := s.send(ctx, l); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("send notice", "location", l, "error", err)
			}
		})
	})
	followed := make(chan error, 1)
	wg.Go(func() { followed <- s.host.follow(ctx) })
	err := s.receive(ctx)
	cancel()
	return errors.Join(err, <-followed)
}

func (s *Service) send(ctx context.Context, l index.Location) error {
	head, ok, err := s.cfg.Backend.Head(ctx, l)
	if err != nil || !ok {
		return err
	}
	s.mu.Lock()
	c, topic := s.channel.Load(), s.topic
	s.mu.Unlock()
	if head.Library != c.library {
		return nil // signed before this device changed libraries; it is signed anew
	}
	return topic.Publish(ctx, c.seal(&BulkIndexComplete{Head: head}))
}

func (s *Service) receive(ctx context.Context) error {
	for {
		s.mu.Lock()
		sub := s.sub
		s.mu.Unlock()
		m, err := sub.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, pubsub.ErrSubscriptionCancelled): // another library was entered
			continue
		case err != nil:
			return fmt.Errorf("receive notices: %w", err)
		}
		b, ok := m.ValidatorData.(*BulkIndexComplete)
		if !ok { // our own
			continue
		}
		if err := s.cfg.Backend.Heard(ctx, *b); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("take notice", "location", b.Location(), "error", err)
		}
	}
}

// begin reports whether a check may begin, which must say busy.Done at its end.
func (s *Service) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy.Add(1)
	return true
}

func (s *Service) observe(e Event) {
	if e.Err != nil {
		s.cfg.Log.Debug("notice not taken", "from", e.From, "author", e.Author, "error", e.Err)
	}
	if s.cfg.Observe != nil {
		s.cfg.Observe(e)
	}
}

// Close ends the gossip and waits until the backend is asked nothing more by it. [Service.Run] ends with its context.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.busy.Wait()
	return nil
}
