package query

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Options configures [Ask].
type Options struct {
	wire.Config
	Library index.LibraryID // that heads must belong to; required
	// VerifyHead is asked about the head, after its signature was found good: is the owner a member. nil = no further
	// check.
	VerifyHead func(h *index.SignedHead) error
}

// Ask asks one question and owns s, which ends with the answer. ctx bounds all of it.
//
// [wire.ErrNoReplica] and [wire.ErrBusy]: another provider, or this one later. [wire.ErrMalformed] and
// [index.ErrBadSignature]: the provider is faulty. An answer that there is no such entry is no error.
func Ask(ctx context.Context, s wire.Stream, r *Request, o Options) (Answer, error) {
	if err := r.Check(); err != nil {
		_ = s.Reset()
		return Answer{}, fmt.Errorf("ask: %w", err)
	}
	var a Answer
	svc := wire.Service{Name: "peerdex.query.ask", Memory: askMemory}
	err := wire.Run(ctx, s, svc, o.Config, func(_ context.Context, c *wire.Conn) error {
		r.encode(c)
		if err := c.Send(wire.CodecNone); err != nil {
			return err
		}
		d, err := c.Receive(wire.IdleTimeout, kindAnswer, answerFields)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("receive answer: %w", err)
		}
		m, err := decodeAnswer(d)
		if err == nil {
			a, err = r.check(&m, &o)
		}
		if err != nil {
			return fmt.Errorf("receive answer: %w", err)
		}
		return nil
	})
	if err != nil {
		return Answer{}, fmt.Errorf("ask %v: %w", r.Location, err)
	}
	return a, nil
}

// check verifies an answer and reads its body.
func (r *Request) check(m *message, o *Options) (Answer, error) {
	switch {
	case m.Head.Location != r.Location:
		return Answer{}, fmt.Errorf("%w: head of another location", wire.ErrMalformed)
	case m.Head.Library != o.Library:
		return Answer{}, fmt.Errorf("%w: head of another library", wire.ErrMalformed)
	case index.HashRecord(m.Record) != m.Head.Record:
		return Answer{}, fmt.Errorf("%w: the record is not the one signed", wire.ErrMalformed)
	case m.outcome == same && r.Known.IsZero():
		return Answer{}, fmt.Errorf("%w: no answer is known", wire.ErrMalformed)
	case m.outcome == absent && (r.Op == OpSearch || r.Entry == index.RootID || r.Entry == 0 && r.Path == ""):
		return Answer{}, fmt.Errorf("%w: a location without a root", wire.ErrMalformed)
	}
	if err := m.Head.Verify(); err != nil {
		return Answer{}, err
	}
	var rec index.Record
	if err := rec.UnmarshalBinary(m.Record); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	if o.VerifyHead != nil {
		if err := o.VerifyHead(&m.Head); err != nil {
			return Answer{}, err
		}
	}
	if m.outcome == same {
		return Answer{State: m.State, Found: true, Same: true}, nil
	}
	return r.Read(m.State, m.outcome == given, m.body)
}
