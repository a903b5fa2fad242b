package tree

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ErrTooDifferent is returned when so much differs that everything is better fetched anew.
var ErrTooDifferent = errors.New("too much differs")

// Replica is what [Reconcile] compares, and what takes what it found.
type Replica interface {
	// Sketch describes nodes of a level of the replica's tree, those without children too.
	Sketch(ctx context.Context, salt proof.Salt, level int, nodes []int64) ([]proof.Sketch, error)
	// Found takes what was found, and next, the token that ends the transfer from there. f is valid until Found returns;
	// the strings and byte strings of its rows may be kept. An error of Found ends the comparison.
	Found(ctx context.Context, f *proof.Found, next index.Token, at Progress) error
}

// Progress says how far a comparison is.
type Progress struct {
	Level int   // that is being compared; leaves are level 0
	Rows  int64 // received so far
	Total int64 // rows to be received in all, as far as it can be judged; 0 = not known
	Bytes int64 // received on the wire since the comparison began
}

// Defaults of [Options].
const (
	DefaultShare = 0.3
	DefaultFree  = 10_000
)

// Options configures [Reconcile]. Zero fields have the defaults said.
type Options struct {
	wire.Config
	Library    index.LibraryID // that heads must belong to; required
	Codecs     wire.CodecSet   // that the provider may use, 0 = all
	Share      float64         // of the provider's entries that may differ, 0 = [DefaultShare]
	Free       int64           // so many entries may differ whatever their share, 0 = [DefaultFree]
	VerifyHead func(h *index.SignedHead) error
	// VerifyHead is asked about every new head, after its signature was found good: is the owner a member, is the
	// head below the cut of its removal. nil = no further check.
}

// Reconcile walks to the end of w with the provider on s, and hands what it finds to r. It owns s.
//
// The error is nil when all differences are found: the delta that starts at w's token is to be pulled then, from this
// provider or another. [ErrTooDifferent]: fetch everything instead. [ErrNoReplica], [wire.ErrBusy]: another provider, or
// this one later. [index.ErrEpochChanged]: plan anew. [wire.ErrMalformed], [index.ErrPageOrder] and
// [index.ErrBadSignature]: the provider is faulty.
func Reconcile(ctx context.Context, s wire.Stream, w *proof.Walk, r Replica, o Options) error {
	if o.Codecs == 0 {
		o.Codecs = wire.AllCodecs
	}
	if o.Share == 0 {
		o.Share = DefaultShare
	}
	if o.Free == 0 {
		o.Free = DefaultFree
	}
	c := comparer{o: o, walk: w, replica: r, tok: w.Token()}
	_, _ = rand.Read(c.salt[:])
	svc := wire.Service{Name: "peerdex.tree.reconcile", Memory: clientMemory}
	if err := wire.Run(ctx, s, svc, o.Config, c.run); err != nil {
		return fmt.Errorf("reconcile %v: %w", c.tok.Location, err)
	}
	return nil
}

// comparer is the state of one comparison.
type comparer struct {
	o       Options
	walk    *proof.Walk
	replica Replica
	tok     index.Token // for its location and epoch
	salt    proof.Salt
	answer  answer // head and record stay from answer to answer
	rows    int64
}

func (k *comparer) run(ctx context.Context, c *wire.Conn) error {
	for {
		level, nodes := k.walk.Next(MaxNodes)
		if len(nodes) == 0 {
			return nil
		}
		sent, err := k.replica.Sketch(ctx, k.salt, level, nodes)
		if err != nil {
			return err
		}
		if len(sent) != len(nodes) {
			return fmt.Errorf("%d sketches of %d nodes", len(sent), len(nodes))
		}
		req := request{loc: k.tok.Location, epoch: k.tok.Epoch, salt: k.salt, level: level, nodes: sent, codecs: k.o.Codecs}
		req.encode(c)
		if err := c.Send(wire.CodecNone); err != nil {
			return err
		}
		for len(sent) > 0 {
			if err := k.receive(ctx, c, level, sent); err != nil {
				return err
			}
			sent = sent[len(k.answer.Nodes):]
		}
	}
}

// receive takes one answer about the first of the nodes that are still to be answered.
func (k *comparer) receive(ctx context.Context, c *wire.Conn, level int, sent []proof.Sketch) error {
	d, err := c.Receive(wire.IdleTimeout, kindAnswer, answerFields)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		err = k.answer.decode(d, len(sent))
	}
	if err != nil {
		return fmt.Errorf("receive answer: %w", err)
	}
	if err := k.check(); err != nil {
		return fmt.Errorf("check answer: %w", err)
	}
	f, err := k.walk.Take(sent, &k.answer.Comparison)
	if err != nil {
		return fmt.Errorf("check answer: %w", err)
	}
	k.rows += int64(len(f.Rows))
	needed, _ := k.walk.Needed()
	if floor := k.walk.Floor(); k.walk.TooMany() || needed > k.o.Free && float64(needed) > k.o.Share*float64(floor.Count) {
		return fmt.Errorf("about %d rows of %d: %w", needed, floor.Count, ErrTooDifferent)
	}
	at := Progress{Level: level, Rows: k.rows, Total: needed, Bytes: c.BytesIn()}
	if err := k.replica.Found(ctx, &f, k.walk.Token(), at); err != nil {
		return fmt.Errorf("store answer: %w", err)
	}
	return nil
}

// check verifies what [proof.Walk.Take] takes for granted: the head and the record.
func (k *comparer) check() error {
	a := &k.answer
	switch {
	case a.head == nil && (len(a.record) > 0 || a.Head.Seq == 0):
		return fmt.Errorf("%w: no head", wire.ErrMalformed)
	case a.head == nil:
		return nil
	case a.head.Location != k.tok.Location:
		return fmt.Errorf("%w: head of another location", wire.ErrMalformed)
	case a.head.Library != k.o.Library:
		return fmt.Errorf("%w: head of another library", wire.ErrMalformed)
	}
	if err := a.head.Verify(); err != nil {
		return err
	}
	if k.o.VerifyHead != nil {
		if err := k.o.VerifyHead(a.head); err != nil {
			return err
		}
	}
	a.Head = *a.head
	if len(a.record) > 0 {
		var r index.Record
		if err := r.UnmarshalBinary(a.record); err != nil {
			return fmt.Errorf("%w: %w", wire.ErrMalformed, err)
		}
		a.Record = a.record
	}
	if index.HashRecord(a.Record) != a.Head.Record {
		return fmt.Errorf("%w: the record is not the one signed", wire.ErrMalformed)
	}
	return nil
}
