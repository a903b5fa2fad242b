package pair

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// DefaultTTL is how long an invite is open unless said otherwise.
const DefaultTTL = 10 * time.Minute

const (
	maxTries     = 3  // wrong proofs before an invite closes
	maxInvites   = 8  // open at a time
	maxEnded     = 64 // remembered, so that a late Wait gets its answer
	maxStrangers = 4  // handshakes at a time
	handshake    = 30 * time.Second
)

// Reasons why an invite ended without a device.
const (
	ReasonExpired   = "expired"
	ReasonCancelled = "cancelled"
	ReasonTries     = "too many tries"
	ReasonLost      = "the other device was lost before it confirmed"
	ReasonFailed    = "this device could not sign the newcomer in"
	ReasonClosed    = "the program ended"
)

// Errors of a window.
var (
	// ErrTooMany is returned when too many invites are open.
	ErrTooMany = errors.New("too many invites are open")
	// ErrNoInvite is returned for an id that no invite has.
	ErrNoInvite = errors.New("no such invite")
)

// Admitter takes a device into the library: it signs the record and returns what the newcomer needs. It is called
// after the device proved that it has the ticket, and once for an invite.
type Admitter interface {
	Admit(ctx context.Context, device index.DeviceID, h Hello) (Admission, error)
}

// WindowConfig configures a [Window]. Self and Admitter are required.
type WindowConfig struct {
	wire.Config
	Self     index.DeviceID
	Admitter Admitter
}

// Invite is an open invite.
type Invite struct {
	ID      string // names the invite on this device; it is no secret, and doesn't lead to one
	Secret  [SecretSize]byte
	Expires time.Time
}

// Outcome says how an invite ended.
type Outcome struct {
	Joined bool
	Device index.DeviceID // when joined
	Hello  Hello          // when joined: what the device said of itself
	Reason string         // when not
}

// Window holds the invites of a device and answers those who join by them. Safe for concurrent use.
type Window struct {
	cfg   WindowConfig
	shell *wire.Shell

	mu        sync.Mutex
	closed    bool
	invites   map[string]*invite
	ended     []string // oldest first
	strangers int
}

type invite struct {
	Invite
	opened  time.Time
	tries   int
	claimed bool // somebody proved it, and is being admitted
	done    chan struct{}
	outcome Outcome
}

// NewWindow returns a window without invites; set its Handle as the stream handler of [ID], for strangers too.
func NewWindow(cfg WindowConfig) *Window {
	w := &Window{cfg: cfg, invites: map[string]*invite{}}
	w.shell = wire.NewShell(wire.Service{Name: "peerdex.pair", Memory: 64 << 10}, cfg.Config, w.serve)
	return w
}

// Open opens an invite for so long, 0 = [DefaultTTL]. It returns [ErrTooMany], or [ErrNoInvite] after Close.
func (w *Window) Open(ttl time.Duration) (Invite, error) {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	inv := &invite{opened: time.Now(), done: make(chan struct{})}
	inv.Expires = inv.opened.Add(ttl)
	var id [8]byte
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(inv.Secret[:])
	inv.ID = hex.EncodeToString(id[:])
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return Invite{}, fmt.Errorf("open invite: %w", ErrNoInvite)
	}
	if len(w.live()) >= maxInvites {
		return Invite{}, fmt.Errorf("open invite: %w", ErrTooMany)
	}
	w.invites[inv.ID] = inv
	return inv.Invite, nil
}

// live returns the invites that can be joined by; those whose time is over are ended. Call with mu held.
func (w *Window) live() []*invite {
	var out []*invite
	now := time.Now()
	for _, inv := range w.invites {
		switch {
		case inv.over() || inv.claimed:
		case inv.expired(now):
			w.end(inv, Outcome{Reason: ReasonExpired})
		default:
			out = append(out, inv)
		}
	}
	return out
}

// expired asks two clocks: one stands still on a machine that sleeps, the other can be set.
func (inv *invite) expired(now time.Time) bool {
	return !now.Before(inv.Expires) || !now.Round(0).Before(inv.Expires.Round(0))
}

func (inv *invite) over() bool {
	select {
	case <-inv.done:
		return true
	default:
		return false
	}
}

// end makes an outcome final. Call with mu held.
func (w *Window) end(inv *invite, o Outcome) {
	if inv.over() {
		return
	}
	inv.outcome = o
	inv.Secret = [SecretSize]byte{}
	close(inv.done)
	if w.ended = append(w.ended, inv.ID); len(w.ended) > maxEnded {
		delete(w.invites, w.ended[0])
		w.ended = w.ended[1:]
	}
}

// IsOpen reports whether an invite is open.
func (w *Window) IsOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live()) > 0
}

// Cancel ends an invite, unless somebody is being admitted by it at this moment. It does nothing to one that ended.
func (w *Window) Cancel(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if inv := w.invites[id]; inv != nil && !inv.claimed {
		w.end(inv, Outcome{Reason: ReasonCancelled})
	}
}

// Wait returns how an invite ended, once it has. The error is [ErrNoInvite], or that of ctx.
func (w *Window) Wait(ctx context.Context, id string) (Outcome, error) {
	w.mu.Lock()
	inv := w.invites[id]
	w.mu.Unlock()
	if inv == nil {
		return Outcome{}, fmt.Errorf("invite %q: %w", id, ErrNoInvite)
	}
	expiry := time.NewTimer(time.Until(inv.Expires))
	defer expiry.Stop()
	for {
		select {
		case <-inv.done:
			return inv.outcome, nil
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		case <-expiry.C:
			w.IsOpen() // ends it, unless somebody is being admitted
		}
	}
}

// Handle answers one stream, of anyone.
func (w *Window) Handle(s network.Stream) { w.shell.Handle(s) }

// Serve is Handle for any stream, from a peer whose key the caller knows.
func (w *Window) Serve(s wire.Stream, from peer.ID) { w.shell.Serve(s, from) }

// Close ends all invites and streams, and waits for the handlers.
func (w *Window) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	err := w.shell.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, inv := range w.invites {
		w.end(inv, Outcome{Reason: ReasonClosed})
	}
	return err
}

// enter counts the strangers that are served.
func (w *Window) enter() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live()) == 0 {
		return wire.ErrWindowClosed
	}
	if w.strangers >= maxStrangers {
		return wire.Refusal{Err: wire.ErrBusy, RetryAfter: 10 * time.Second}
	}
	w.strangers++
	return nil
}

func (w *Window) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strangers--
}

func (w *Window) serve(ctx context.Context, c *wire.Conn, from peer.ID) error {
	device, err := wire.DeviceOf(from)
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrWindowClosed, err)
	}
	if err := w.enter(); err != nil {
		return err
	}
	defer w.leave()
	s := session{joiner: device, inviter: w.cfg.Self}
	inv, err := w.handshake(c, &s)
	if err != nil {
		return err
	}
	return w.admit(ctx, c, &s, inv)
}

// handshake takes a stranger up to its proof, within a time that no trickle of bytes extends.
func (w *Window) handshake(c *wire.Conn, s *session) (*invite, error) {
	c.Restrict(frameLimit, wire.Plain)
	c.SetDeadline(time.Now().Add(handshake))
	d, err := c.Receive(wire.FirstFrameTimeout, kindHello, helloFields)
	if err != nil {
		return nil, fmt.Errorf("receive hello: %w", err)
	}
	if s.joinerNonce, s.hello, err = decodeHello(d); err != nil {
		return nil, fmt.Errorf("receive hello: %w", err)
	}
	_, _ = rand.Read(s.inviterNonce[:])
	e := c.Begin(kindChallenge, challengeFields)
	e.Bytes(s.inviterNonce[:])
	if err := c.Send(wire.CodecNone); err != nil {
		return nil, fmt.Errorf("send challenge: %w", err)
	}
	var mac [macSize]byte
	if d, err = c.Receive(handshake, kindProof, proofFields); err != nil {
		return nil, fmt.Errorf("receive proof: %w", err)
	}
	d.Fixed(mac[:])
	if err := d.Close(); err != nil {
		return nil, fmt.Errorf("receive proof: %w", err)
	}
	inv, err := w.claim(s, mac[:])
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Time{}) // no stranger any more
	return inv, nil
}

// claim finds the invite that a proof is about, for this device alone. A wrong proof counts against every open
// invite, since nobody can tell which one was meant.
func (w *Window) claim(s *session, mac []byte) (*invite, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := w.live()
	if len(open) == 0 {
		return nil, wire.ErrWindowClosed
	}
	for _, inv := range open {
		if err := s.derive(inv.Secret); err != nil {
			return nil, err
		}
		if hmac.Equal(mac, s.joinerMAC()) {
			inv.claimed = true
			return inv, nil
		}
	}
	for _, inv := range open {
		if inv.tries++; inv.tries >= maxTries {
			w.end(inv, Outcome{Reason: ReasonTries})
		}
	}
	return nil, fmt.Errorf("proof of %s: %w", s.joiner.Short(), wire.ErrDenied)
}

// admit takes the device in and waits until it says that it kept what it got.
func (w *Window) admit(ctx context.Context, c *wire.Conn, s *session, inv *invite) (err error) {
	out := Outcome{Reason: ReasonLost}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.end(inv, out)
	}()
	if err := c.Reserve(1 << 20); err != nil { // for frames of records
		return fmt.Errorf("admit: %w", err)
	}
	a, err := w.cfg.Admitter.Admit(ctx, s.joiner, s.hello)
	if err != nil {
		out.Reason = ReasonFailed
		return fmt.Errorf("admit: %w", err)
	}
	sealed, err := s.seal(a.Secret)
	if err != nil {
		return err
	}
	if err := c.SendBlobs(kindRecords, a.Records); err != nil {
		return fmt.Errorf("send records: %w", err)
	}
	e := c.Begin(kindAdmitted, admittedFields)
	e.Bytes(a.Library[:])
	e.Bytes(s.inviterMAC(a.Library, sealed, a.Records))
	e.Bytes(sealed)
	if err := c.Send(wire.CodecNone); err != nil {
		return fmt.Errorf("send admission: %w", err)
	}
	if err := c.ReceiveOK(handshake); err != nil {
		return fmt.Errorf("receive confirmation: %w", err)
	}
	out = Outcome{Joined: true, Device: s.joiner, Hello: s.hello}
	return nil
}
