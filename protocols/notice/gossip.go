package notice

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/pace"
	"github.com/peerdex/peerdex/protocols/wire"
)

const (
	maxRPC     = 64 << 10 // of one message between neighbours, which may hold several notices. Bytes
	maxControl = 16 << 10 // of what it says of the mesh. Bytes
	maxSubs    = 16       // subscriptions in it
	maxIHave   = 200      // notices offered, or asked for, in one heartbeat
	queueLen   = 64       // messages that wait: for a neighbour, for a check, for the backend
	idSize     = 16       // of what names a message. Bytes
	seqnoSize  = 8

	// seenFor is how long a message is known again by its ID. Afterwards it is known by its head.
	seenFor = 2 * time.Minute
	// maxRemembered bounds the newest heads that are remembered. When there are more, all are forgotten, and the
	// backend is asked.
	maxRemembered = 10_000
)

// What may arrive, and what this side sends, which is well below.
func neighbourRate() pace.Rate { return pace.Rate{Burst: 1000, Second: 200} }
func authorRate() pace.Rate    { return pace.Rate{Burst: 100, Second: 20} }
func sendRate() pace.Rate      { return pace.Rate{Burst: 50, Second: 10} }

// Why a notice is not taken. Other reasons wrap [wire.ErrMalformed].
var (
	errStranger = errors.New("not a member")
	errFlood    = errors.New("too many notices")
	errOld      = errors.New("nothing new")
)

// options configure gossipsub.
func (s *Service) options() []pubsub.Option {
	quiet := slog.New(slog.DiscardHandler)
	return []pubsub.Option{
		pubsub.WithLogger(quiet), pubsub.WithRPCLogger(quiet), // first: later ones pass it on
		pubsub.WithGossipSubProtocols([]protocol.ID{ID}, hasFeature),
		pubsub.WithGossipSubParams(params()),
		pubsub.WithFloodPublish(true), // else what is said before the mesh stands is lost
		pubsub.WithPeerExchange(false),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(maxRPC), pubsub.WithMaxControlMessageSize(maxControl),
		pubsub.WithSeenMessagesTTL(seenFor),
		pubsub.WithPeerOutboundQueueSize(queueLen), pubsub.WithValidateQueueSize(queueLen), pubsub.WithValidateWorkers(1),
		pubsub.WithPeerFilter(func(p peer.ID, _ string) bool { return s.cfg.Members(p) }),
		pubsub.WithSubscriptionFilter(filter{s}), // flood publishing asks nobody else
		pubsub.WithAppSpecificRpcInspector(s.inspect),
		pubsub.WithDefaultValidator(s.validate, pubsub.WithValidatorInline(true)),
	}
}

// params are gossipsub's for 2 to 50 devices. It dials nobody.
func params() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dlazy, p.Dscore, p.Dout = 8, 6, 16, 8, 4, 2
	p.HistoryLength, p.HistoryGossip = 10, 6
	p.MaxIHaveLength = maxIHave
	p.Connectors, p.MaxPendingConnections, p.PrunePeers = 0, 0, 0
	return p
}

// hasFeature says what of gossipsub is spoken: version 1.1.
func hasFeature(f pubsub.GossipSubFeature, id protocol.ID) bool {
	return id == ID && (f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeaturePX)
}

// messageID names a message by all that its author signed, so that nobody else can take its place.
func messageID(m *pb.Message) string {
	h := sha256.New()
	h.Write(m.GetFrom())
	h.Write(m.GetSeqno())
	h.Write(m.GetData())
	return string(h.Sum(nil)[:idSize])
}

// filter is gossipsub's view of who may subscribe to what: members to the library's topic.
type filter struct{ s *Service }

var _ pubsub.SubscriptionFilter = filter{}

// CanSubscribe reports whether this device may.
func (f filter) CanSubscribe(topic string) bool {
	c := f.s.channel.Load()
	return c != nil && c.topic == topic
}

// FilterIncomingSubscriptions returns those of a neighbour's subscriptions that count.
func (f filter) FilterIncomingSubscriptions(from peer.ID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	switch {
	case !f.s.cfg.Members(from):
		return nil, errStranger
	case len(subs) > maxSubs:
		return nil, pubsub.ErrTooManySubscriptions
	}
	return pubsub.FilterSubscriptions(subs, f.CanSubscribe), nil
}

// inspect drops what can be told to be wrong before a signature is checked. What is signed later must be whole: a
// message with fields that we don't know would be passed on with them.
func (s *Service) inspect(from peer.ID, rpc *pubsub.RPC) error {
	if !s.cfg.Members(from) {
		if len(rpc.GetPublish()) > 0 {
			s.observe(Event{From: from, Err: errStranger})
		}
		return errStranger
	}
	now := time.Now()
	kept := rpc.Publish[:0]
	for _, m := range rpc.GetPublish() {
		author := peer.ID(m.GetFrom())
		var err error
		switch {
		case !s.neighbours.Take(from, now):
			err = errFlood
		case len(m.GetData()) != SealedSize, len(m.GetSeqno()) != seqnoSize, len(m.GetKey()) > 0, len(m.ProtoReflect().GetUnknown()) > 0:
			err = fmt.Errorf("%w: message of another form", wire.ErrMalformed)
		case !(filter{s}).CanSubscribe(m.GetTopic()):
			err = fmt.Errorf("%w: message of another topic", wire.ErrMalformed)
		case !s.cfg.Members(author):
			err = errStranger
		default:
			kept = append(kept, m)
			continue
		}
		s.observe(Event{From: from, Author: author, Err: err})
	}
	rpc.Publish = kept
	return nil
}

// validate is gossipsub's question whether a message is taken and passed on. Its author's signature was checked.
func (s *Service) validate(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == s.self {
		return pubsub.ValidationAccept
	}
	if !s.begin() {
		return pubsub.ValidationIgnore
	}
	defer s.busy.Done()
	b, err := s.check(ctx, m)
	s.observe(Event{From: from, Author: m.GetFrom(), Notice: b, Err: err})
	switch {
	case err == nil:
		m.ValidatorData = &b
		return pubsub.ValidationAccept
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, errStranger):
		return pubsub.ValidationReject
	}
	return pubsub.ValidationIgnore
}

func (s *Service) check(ctx context.Context, m *pubsub.Message) (BulkIndexComplete, error) {
	author := m.GetFrom()
	c := s.channel.Load()
	if m.GetTopic() != c.topic {
		return BulkIndexComplete{}, fmt.Errorf("%w: message of another topic", wire.ErrMalformed)
	}
	if !s.cfg.Members(author) {
		return BulkIndexComplete{}, errStranger
	}
	if !s.authors.Take(author, time.Now()) {
		return BulkIndexComplete{}, errFlood
	}
	d, err := wire.DeviceOf(author)
	if err != nil {
		return BulkIndexComplete{}, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	b, err := c.open(d, m.GetData())
	if err != nil {
		return b, err
	}
	if !s.newest.news(&b.Head.Head) {
		return b, errOld
	}
	old, err := s.cfg.Backend.Old(ctx, b.Head)
	if err != nil {
		return b, fmt.Errorf("look up head: %w", err)
	}
	if old {
		return b, errOld
	}
	s.newest.passed(&b.Head.Head)
	return b, nil
}

// newest remembers the newest head of each location that a notice told of. Only gossipsub's one worker uses it.
type newest map[index.Location]index.Head

// news reports whether a head is more than a repetition. Of two that can't both be true each is news after the other.
func (n newest) news(h *index.Head) bool {
	last, ok := n[h.Location]
	if !ok {
		return true
	}
	o := index.Compare(h, &last)
	return o != index.Older && o != index.Same
}

func (n newest) passed(h *index.Head) {
	if len(n) >= maxRemembered {
		clear(n)
	}
	n[h.Location] = *h
}
