package pair

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ErrWrongTicket is returned when the inviter did not accept the proof: no open invite has this secret.
var ErrWrongTicket = wire.ErrDenied

// ErrNotInviter is returned when the other side doesn't know the secret of its own ticket.
var ErrNotInviter = errors.New("the other device did not prove that it made the ticket")

// answerWait is how long a joiner waits for an answer of the inviter.
const answerWait = 20 * time.Second

// Options configures [Join]. The zero value works.
type Options struct {
	wire.Config
}

// Join asks the maker of a ticket to be taken in, on a stream to it, which Join owns. The other side must be
// t.Inviter by the key of the connection: Join asks a libp2p stream for it, and of any other stream the caller must
// know. self is this device. accept is called once with what was received and checked, and is to keep it; only when
// it returns nil does the inviter learn that all is well. Errors: [wire.ErrWindowClosed] when no invite is open,
// [ErrWrongTicket], [wire.ErrBusy], [ErrNotInviter], or accept's.
func Join(ctx context.Context, s wire.Stream, t Ticket, self index.DeviceID, h Hello, accept func(Admission) error, o Options) error {
	err := checkPeer(s, t.Inviter)
	if err == nil {
		err = h.valid()
	}
	if err != nil {
		_ = s.Reset()
		return fmt.Errorf("join: %w", err)
	}
	j := joiner{
		session: session{joiner: self, inviter: t.Inviter, hello: h}, ticket: t, accept: accept, log: o.WithDefaults().Log,
	}
	_, _ = rand.Read(j.joinerNonce[:])
	if err := wire.Run(ctx, s, wire.Service{Name: "peerdex.pair.join", Memory: 1 << 20}, o.Config, j.run); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

// checkPeer asks a libp2p stream who is at its other end.
func checkPeer(s wire.Stream, inviter index.DeviceID) error {
	c, ok := s.(interface{ Conn() network.Conn })
	if !ok {
		return nil
	}
	if d, err := wire.DeviceOf(c.Conn().RemotePeer()); err != nil || d != inviter {
		return fmt.Errorf("stream to %v: %w", c.Conn().RemotePeer(), ErrNotInviter)
	}
	return nil
}

type joiner struct {
	session
	ticket Ticket
	accept func(Admission) error
	log    *slog.Logger
}

func (j *joiner) run(_ context.Context, c *wire.Conn) error {
	c.Restrict(frameLimit, wire.Plain)
	sent := sendHello(c, j.joinerNonce, j.hello)
	d, err := c.Receive(answerWait, kindChallenge, challengeFields)
	if sent != nil && !errors.As(err, new(wire.Status)) {
		return fmt.Errorf("send hello: %w", sent) // a refusal, which may come before the hello went, says more
	}
	if err != nil {
		return fmt.Errorf("receive challenge: %w", err)
	}
	d.Fixed(j.inviterNonce[:])
	if err := d.Close(); err != nil {
		return fmt.Errorf("receive challenge: %w", err)
	}
	if err := j.derive(j.ticket.Secret); err != nil {
		return err
	}
	e := c.Begin(kindProof, proofFields)
	e.Bytes(j.joinerMAC())
	if err := c.Send(wire.CodecNone); err != nil {
		return fmt.Errorf("send proof: %w", err)
	}
	c.Restrict(wire.MaxFrame, wire.Plain)
	a, err := j.receive(c)
	if err != nil {
		return fmt.Errorf("receive admission: %w", err)
	}
	if err := j.check(&a); err != nil {
		return fmt.Errorf("check admission: %w", err)
	}
	if err := j.accept(a); err != nil {
		return fmt.Errorf("accept admission: %w", err)
	}
	if err := c.SendStatus(wire.Status{Code: wire.CodeOK}); err != nil {
		// This device is a member now; only the screen of the other doesn't say so.
		j.log.Warn("the inviter was not told that this device joined", "error", err)
	}
	return nil
}

// receive takes the admission and the inviter's proof, which covers it.
func (j *joiner) receive(c *wire.Conn) (Admission, error) {
	var a Admission
	records, err := c.ReceiveBlobs(kindRecords, wire.BlobLimits{Count: membership.MaxRecords, Each: membership.MaxRecordLen})
	if err != nil {
		return a, err
	}
	a.Records = records
	d, err := c.Receive(answerWait, kindAdmitted, admittedFields)
	if err != nil {
		return a, err
	}
	var mac [macSize]byte
	var sealed [sealedSize]byte
	d.Fixed(a.Library[:])
	d.Fixed(mac[:])
	d.Fixed(sealed[:])
	if err := d.Close(); err != nil {
		return a, err
	}
	if !hmac.Equal(mac[:], j.inviterMAC(a.Library, sealed[:], records)) {
		return a, ErrNotInviter
	}
	a.Secret, err = j.unseal(sealed[:])
	return a, err
}

// check makes sure that the records say what an admission must say.
func (j *joiner) check(a *Admission) error {
	records := make([]membership.Record, len(a.Records))
	for i, b := range a.Records {
		if err := records[i].UnmarshalBinary(b); err != nil {
			return err
		}
	}
	state, err := membership.Evaluate(records)
	switch {
	case err != nil:
		return err
	case state.Library != a.Library:
		return fmt.Errorf("records of another library: %w", wire.ErrMalformed)
	case !state.Has(j.joiner) || !state.Has(j.inviter):
		return fmt.Errorf("the records don't name both devices: %w", wire.ErrMalformed)
	}
	return nil
}
