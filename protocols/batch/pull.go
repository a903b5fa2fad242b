package batch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ErrMismatch is returned when the deletions received do not lead to the state that the owner signed: one of the
// providers of this transfer left some out, or made them up. What the sink has of it is to be thrown away.
var ErrMismatch = errors.New("the deletions received do not lead to the signed head")

// Sink takes what [Pull] received and checked.
type Sink interface {
	// Put takes one page, and next, the token that stands once the page is stored: both must be stored together, or
	// neither. done says that the transfer has reached p.Head, so that the whole can be compared with it and applied.
	// The page is valid until Put returns; the strings and byte strings of its rows may be kept. An error of Put
	// ends the pull.
	Put(ctx context.Context, p *index.Page, next index.Token, done bool, at Progress) error
}

// Progress says how far a pull is.
type Progress struct {
	Mode    index.Mode // of the request under way
	Batch   int64      // frames of this request so far, this one included
	Batches int64      // frames of this request in all, as far as the provider knows; 0 = not known
	Done    int64      // rows and dead ids of this request so far
	Total   int64      // rows and dead ids of this request in all, as far as the provider knows; 0 = not known
	Bytes   int64      // received on the wire since the pull began
}

// Options configures [Pull]. Zero fields have the defaults said.
type Options struct {
	wire.Config
	Library    index.LibraryID // that heads must belong to; required
	BatchSize  int             // rows and dead runs in a frame, at most [wire.MaxRows]; 0 = [DefaultBatchSize]
	Codecs     wire.CodecSet   // that the provider may use, 0 = all
	VerifyHead func(h *index.SignedHead) error
	// VerifyHead is asked about every new head, after its signature was found good: is the owner a member, is the
	// head below the cut of its removal. nil = no further check.
}

// Pull goes on with the transfer that tok stands for, until it is done or this provider can't bring it further. It
// owns s, and returns the last token that the sink took.
//
// The error is nil when the transfer is done. [index.ErrProviderBehind]: another provider has to end it, this one's
// head is below pages taken before. [index.ErrBelowHorizon], [ErrNoReplica] and [wire.ErrBusy]: another provider, or
// this one later. [index.ErrEpochChanged]: plan anew. After all of these, and when the stream broke, tok goes on
// where it was. [ErrMismatch], [wire.ErrMalformed], [index.ErrPageOrder] and [index.ErrBadSignature]: the provider
// is faulty.
func Pull(ctx context.Context, s wire.Stream, tok index.Token, sink Sink, o Options) (index.Token, error) {
	if o.BatchSize < 0 || o.BatchSize > wire.MaxRows {
		_ = s.Reset()
		return tok, fmt.Errorf("pull: batch size %d: %w", o.BatchSize, index.ErrInvalid)
	}
	if o.Codecs == 0 {
		o.Codecs = wire.AllCodecs
	}
	p := puller{o: o, sink: sink, tok: tok}
	svc := wire.Service{Name: "peerdex.batch.pull", Memory: pullMemory}
	err := wire.Run(ctx, s, svc, o.Config, p.run)
	if err != nil {
		return p.tok, fmt.Errorf("pull %v: %w", tok.Location, err)
	}
	return p.tok, nil
}

// puller is the state of one pull.
type puller struct {
	o     Options
	sink  Sink
	tok   index.Token
	frame frame // of the answer under way; head and record stay from frame to frame
}

func (p *puller) run(ctx context.Context, c *wire.Conn) error {
	for {
		req := newRequest(&p.tok, &p.o)
		req.encode(c)
		if err := c.Send(wire.CodecNone); err != nil {
			return err
		}
		done, err := p.receive(ctx, c)
		if done || err != nil {
			return err
		}
	}
}

// receive takes one answer. It returns false and no error if the full pass is over and the delta is to be asked for.
func (p *puller) receive(ctx context.Context, c *wire.Conn) (done bool, err error) {
	p.frame = frame{}
	for batches := int64(0); ; batches++ {
		d, err := c.Receive(wire.IdleTimeout, kindFrame, frameFields)
		if errors.Is(err, io.EOF) {
			return false, io.ErrUnexpectedEOF
		}
		if err != nil {
			return false, fmt.Errorf("receive frame %d: %w", batches, err)
		}
		if err := p.frame.decode(d); err != nil {
			return false, fmt.Errorf("receive frame %d: %w", batches, err)
		}
		if err := p.check(batches); err != nil {
			return false, fmt.Errorf("check frame %d: %w", batches, err)
		}
		page, mode := &p.frame.page, p.tok.Mode
		next, done, err := p.tok.Advance(page, proof.FoldDead)
		if err != nil {
			return false, fmt.Errorf("check frame %d: %w", batches, err)
		}
		if mode == index.ModeDelta && page.Exhausted && next.Dead != page.Head.Dead {
			return false, ErrMismatch
		}
		at := Progress{Mode: mode, Batch: batches + 1, Batches: p.frame.batches, Done: p.frame.done, Total: p.frame.total, Bytes: c.BytesIn()}
		if err := p.sink.Put(ctx, page, next, done, at); err != nil {
			return false, fmt.Errorf("store frame %d: %w", batches, err)
		}
		p.tok = next
		switch {
		case done:
			return true, nil
		case page.Exhausted && mode == index.ModeDelta:
			return false, index.ErrProviderBehind // exhausted, but below the floor
		case page.Exhausted:
			return false, nil
		}
	}
}

// check verifies what [index.Token.Advance] takes for granted: the frame's place in the answer, the head, the record.
func (p *puller) check(n int64) error {
	f := &p.frame
	first := n == 0
	switch {
	case f.index != n:
		return fmt.Errorf("%w: batch index %d", wire.ErrMalformed, f.index)
	case first && (f.head == nil || len(f.record) == 0):
		return fmt.Errorf("%w: first frame without head or record", wire.ErrMalformed)
	case first != (f.page.LeftRows >= 0) || first != (f.page.LeftDead >= 0):
		return fmt.Errorf("%w: counts belong into the first frame", wire.ErrMalformed)
	case !f.page.Exhausted && len(f.page.Rows)+len(f.page.Dead) == 0:
		return fmt.Errorf("%w: frame with nothing in it", wire.ErrMalformed)
	case f.head == nil && len(f.record) > 0:
		return fmt.Errorf("%w: record without a head", wire.ErrMalformed)
	case f.head == nil:
		return nil
	}
	if err := p.verifyHead(f.head); err != nil {
		return err
	}
	f.page.Head = *f.head
	if len(f.record) > 0 {
		var r index.Record
		if err := r.UnmarshalBinary(f.record); err != nil {
			return fmt.Errorf("%w: %w", wire.ErrMalformed, err)
		}
		f.page.Record = f.record
	}
	if index.HashRecord(f.page.Record) != f.page.Head.Record {
		return fmt.Errorf("%w: the record is not the one signed", wire.ErrMalformed)
	}
	return nil
}

func (p *puller) verifyHead(h *index.SignedHead) error {
	switch {
	case h.Location != p.tok.Location:
		return fmt.Errorf("%w: head of another location", wire.ErrMalformed)
	case h.Library != p.o.Library:
		return fmt.Errorf("%w: head of another library", wire.ErrMalformed)
	}
	if err := h.Verify(); err != nil {
		return err
	}
	if p.o.VerifyHead != nil {
		return p.o.VerifyHead(h)
	}
	return nil
}
