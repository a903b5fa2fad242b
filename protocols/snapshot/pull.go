package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Sink takes what [Pull] receives. Its methods are called one at a time; an error ends the pull.
type Sink interface {
	// Begin says what comes: o, whose head is verified, from offset on. The offset is 0, and what there was is to be
	// forgotten, or the one asked for, of the file asked for. The size is the provider's word.
	Begin(ctx context.Context, o *Offer, offset int64) error
	// Put takes the next bytes. They are valid until Put returns.
	Put(ctx context.Context, b []byte, at Progress) error
}

// Progress says how far a pull is.
type Progress struct {
	Done  int64 // bytes of the file, those of earlier pulls included
	Total int64 // bytes of the file
	Wire  int64 // bytes received by this pull
}

// Options configures [Pull]. Zero fields have the defaults said.
type Options struct {
	wire.Config
	Codecs     wire.CodecSet // that the provider may use, 0 = all
	VerifyHead func(h *index.SignedHead) error
	// VerifyHead is asked about the head, after its signature was found good: is the owner a member, is the head below
	// the cut of its removal. nil = no further check.
}

const (
	pullMemory = 1 << 20
	// maxPreparing bounds the messages that a file is being made.
	maxPreparing = 1000
)

// Pull receives the snapshot that r asks for. It owns s. The error is nil when the sink has the whole file.
//
// [ErrNoReplica] and [wire.ErrBusy]: another provider, or this one later. After these, and when the stream broke, the
// file goes on from what the sink took. [wire.ErrMalformed] and [index.ErrBadSignature]: the provider is faulty.
func Pull(ctx context.Context, s wire.Stream, r Request, sink Sink, o Options) error {
	if o.Codecs == 0 {
		o.Codecs = wire.AllCodecs
	}
	p := puller{o: o, req: r, sink: sink}
	svc := wire.Service{Name: "peerdex.snapshot.pull", Memory: pullMemory}
	if err := wire.Run(ctx, s, svc, o.Config, p.run); err != nil {
		return fmt.Errorf("pull snapshot of %v: %w", r.Location, err)
	}
	return nil
}

// puller is the state of one pull.
type puller struct {
	o    Options
	req  Request
	sink Sink
	head header
}

func (p *puller) run(ctx context.Context, c *wire.Conn) error {
	p.req.encode(c.Encoder(), p.o.Codecs)
	if err := c.Send(wire.CodecNone); err != nil {
		return err
	}
	if err := p.receiveHeader(c); err != nil {
		return fmt.Errorf("receive header: %w", err)
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("check header: %w", err)
	}
	if err := p.sink.Begin(ctx, &p.head.Offer, p.head.offset); err != nil {
		return fmt.Errorf("store snapshot: %w", err)
	}
	// Each part is there three times at most: as it came, unpacked, and in the sink's hands. What a frame unpacks to is
	// bounded by four times its own bound.
	if err := c.Reserve(depth * (2*p.head.part + 4*(p.head.part+partSlack))); err != nil {
		return err
	}
	c.Restrict(p.head.part+partSlack, p.o.Codecs)
	return p.receive(ctx, c)
}

// receiveHeader waits until the provider has made its file.
func (p *puller) receiveHeader(c *wire.Conn) error {
	c.Restrict(headerLimit, wire.Plain)
	c.SetDeadline(time.Now().Add(prepareTimeout))
	defer c.SetDeadline(time.Time{})
	for range maxPreparing {
		kind, fields, d, err := c.ReceiveAny(wire.IdleTimeout)
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case kind == kindHeader && fields == headerFields:
			p.head, err = decodeHeader(d)
			return err
		case kind != kindPreparing || fields != preparingFields:
			return fmt.Errorf("%w: message %d with %d fields", wire.ErrMalformed, kind, fields)
		}
		if err := d.Close(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: preparing without end", wire.ErrMalformed)
}

// check verifies what the provider says of its file.
func (p *puller) check() error {
	h := &p.head
	switch {
	case !p.req.Variants.Has(h.Variant):
		return fmt.Errorf("%w: variant %d was not asked for", wire.ErrMalformed, h.Variant)
	case h.offset != 0 && (h.File != p.req.File || h.offset != p.req.Offset):
		return fmt.Errorf("%w: offset %d was not asked for", wire.ErrMalformed, h.offset)
	case h.Head.Location != p.req.Location:
		return fmt.Errorf("%w: head of another location", wire.ErrMalformed)
	case h.Head.Library != p.req.Library:
		return fmt.Errorf("%w: head of another library", wire.ErrMalformed)
	case index.HashRecord(h.Record) != h.Head.Record:
		return fmt.Errorf("%w: the record is not the one signed", wire.ErrMalformed)
	}
	var r index.Record
	if err := r.UnmarshalBinary(h.Record); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	if err := h.Head.Verify(); err != nil {
		return err
	}
	if p.o.VerifyHead != nil {
		return p.o.VerifyHead(&h.Head)
	}
	return nil
}

// receive takes the parts from h.offset on, and the end. What was received before an error still reaches the sink: an
// error travels behind it through the goroutines.
func (p *puller) receive(ctx context.Context, c *wire.Conn) error {
	free, frames, plain := parts(p.head.part), make(chan *part, depth), make(chan *part, depth)
	g, gctx := errgroup.WithContext(ctx)
	var ended atomic.Bool
	defer context.AfterFunc(gctx, func() { // the last goroutine has failed: the first must not wait for more
		if !ended.Load() {
			c.Abort()
		}
	})()
	g.Go(p.o.Guard(func() error {
		defer ended.Store(true)
		return p.readFrames(gctx, c, free, frames)
	}))
	g.Go(p.o.Guard(func() error { return p.unpackParts(gctx, c, frames, plain) }))
	at := Progress{Done: p.head.offset, Total: p.head.Size}
	g.Go(p.o.Guard(func() error { return p.putParts(gctx, c, plain, free, &at) }))
	if err := g.Wait(); err != nil {
		return fmt.Errorf("receive at byte %d: %w", at.Done, err)
	}
	return nil
}

// readFrames reads as many frames as the rest of the file has parts, and the last.
func (p *puller) readFrames(ctx context.Context, c *wire.Conn, free, frames chan *part) error {
	size := int64(p.head.part)
	for n := (p.head.Size-p.head.offset+size-1)/size + 1; n > 0; n-- {
		part, err := next(ctx, free)
		if err != nil {
			return err
		}
		if err = c.ReceiveFrame(&part.frame, wire.IdleTimeout); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		part.err = err
		frames <- part
		if err != nil {
			return nil
		}
	}
	return nil
}

// unpackParts unpacks and checks frames up to the end.
func (p *puller) unpackParts(ctx context.Context, c *wire.Conn, frames, plain chan *part) error {
	d, columns := wire.NewDecoder(), new(columns)
	for at := p.head.offset; ; {
		part, err := next(ctx, frames)
		if err != nil {
			return err
		}
		part.data = part.data[:min(int64(p.head.part), p.head.Size-at)]
		if part.err == nil {
			part.err = p.unpack(c, d, columns, at, part)
		}
		at += int64(len(part.data))
		last := len(part.data) == 0 || part.err != nil
		plain <- part
		if last {
			return nil
		}
	}
}

// unpack fills a part, all of whose bytes are wanted, from its frame. A part of nothing is the end.
func (p *puller) unpack(c *wire.Conn, d *wire.Decoder, columns *columns, at int64, part *part) error {
	payload, err := c.Unpack(&part.frame)
	if err != nil {
		return err
	}
	kind, fields, err := d.Begin(payload)
	switch {
	case err != nil:
		return err
	case kind == kindEnd && fields == endFields && len(part.data) == 0:
		return decodeEnd(d, p.head.Size)
	case kind == kindPart && fields == partFields && len(part.data) > 0:
		return decodePart(d, at, part.data)
	case kind == kindColumns && fields == columnsFields && len(part.data) > 0:
		return decodeColumns(d, columns, at, part.data)
	}
	return fmt.Errorf("%w: message %d with %d fields at byte %d of %d", wire.ErrMalformed, kind, fields, at, p.head.Size)
}

// putParts gives parts to the sink until the end.
func (p *puller) putParts(ctx context.Context, c *wire.Conn, plain, free chan *part, at *Progress) error {
	for {
		part, err := next(ctx, plain)
		switch {
		case err != nil:
			return err
		case part.err != nil:
			return part.err
		case len(part.data) == 0:
			return nil
		}
		at.Done, at.Wire = at.Done+int64(len(part.data)), c.BytesIn()
		if err := p.sink.Put(ctx, part.data, *at); err != nil {
			return fmt.Errorf("store snapshot: %w", err)
		}
		free <- part // has room for all
	}
}
