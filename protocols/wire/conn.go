package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// Stream is what a protocol needs of a stream. A libp2p network.Stream is one; package wiretest has another.
type Stream interface {
	io.Reader
	io.Writer
	Close() error // ends both directions; what was written still arrives
	Reset() error // ends both directions at once, and tells the other side
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Traffic counts bytes of frames as they move. The zero value is ready; it is safe for concurrent use.
type Traffic struct {
	In, Out atomic.Int64
}

// Config is what all protocols of a node share. The zero value works.
type Config struct {
	Codecs  *Codecs      // nil = a new one
	Traffic *Traffic     // nil = not counted
	Rates   *Rates       // nil = as fast as it goes
	Log     *slog.Logger // nil = discard
	Observe func(Event)  // called once for each handled stream, at its end; must not block; nil = not called
}

// WithDefaults returns c with every nil field replaced by one that works.
func (c Config) WithDefaults() Config {
	if c.Codecs == nil {
		c.Codecs = new(Codecs)
	}
	if c.Traffic == nil {
		c.Traffic = new(Traffic)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	return c
}

// Conn sends and receives messages on a stream, and keeps its deadlines and limits. One goroutine may send while
// another receives; each direction is for one goroutine at a time.
type Conn struct {
	s       Stream
	codecs  *Codecs
	traffic *Traffic
	rates   *Rates
	ended   <-chan struct{} // closed when nobody waits for the stream any more; nil = never
	in, out atomic.Int64
	memory  memory

	accept   CodecSet  // codecs read
	limit    int       // of frames read, bytes; payloads are limited to four times as much
	deadline time.Time // of everything, zero = none
	slowBy   time.Time // of the frame being read, zero = none

	enc      *Encoder
	dec      *Decoder
	sent     Frame
	received Frame
}

// NewConn returns a Conn on s. It doesn't own s: see [Run].
func NewConn(s Stream, cfg Config) *Conn {
	cfg = cfg.WithDefaults()
	return &Conn{
		s: s, codecs: cfg.Codecs, traffic: cfg.Traffic, rates: cfg.Rates, accept: AllCodecs, limit: MaxFrame,
		enc: NewEncoder(), dec: NewDecoder(),
	}
}

// BytesIn is the number of bytes read from the stream so far.
func (c *Conn) BytesIn() int64 { return c.in.Load() }

// BytesOut is the number of bytes written to the stream so far.
func (c *Conn) BytesOut() int64 { return c.out.Load() }

// Restrict limits what the other side may send: frames of at most limit bytes, packed with one of accept.
func (c *Conn) Restrict(limit int, accept CodecSet) { c.limit, c.accept = min(limit, MaxFrame), accept }

// Reserve takes n bytes more from the resource manager, until the stream ends: for what a protocol keeps of frames.
func (c *Conn) Reserve(n int) error { return c.memory.take(n) }

// SetDeadline bounds everything on the stream by t, beside the idle times. Zero lifts the bound.
func (c *Conn) SetDeadline(t time.Time) { c.deadline = t }

// Abort resets the stream, so that whoever waits on it goes on with an error.
func (c *Conn) Abort() { _ = c.s.Reset() }

// Begin starts a message of so many fields after the kind, and returns the encoder to write them with.
func (c *Conn) Begin(kind, fields int) *Encoder {
	c.enc.Begin(kind, fields)
	return c.enc
}

// Encoder returns the encoder of the message to be sent next, for those who begin it by themselves.
func (c *Conn) Encoder() *Encoder { return c.enc }

// Begun returns the message that was begun, as far as it is written; valid until the next call of any other method.
func (c *Conn) Begun() []byte { return c.enc.Payload() }

// Send sends the message that was begun, packed with codec if that makes it smaller.
func (c *Conn) Send(codec Codec) error {
	if err := c.codecs.Pack(&c.sent, c.enc.Payload(), codec); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return c.SendFrame(&c.sent)
}

// Receive waits for a message of this kind with so many fields after the kind, and returns the decoder to read
// them with, valid until the next Receive. A status of the other side is returned as a [Status] error. The error is
// exactly [io.EOF] if the other side closed the stream between two frames.
func (c *Conn) Receive(wait time.Duration, kind, fields int) (*Decoder, error) {
	got, n, d, err := c.ReceiveAny(wait)
	if err != nil {
		return nil, err
	}
	if got != kind || n != fields {
		return nil, fmt.Errorf("%w: message %d with %d fields, want %d with %d", ErrMalformed, got, n, kind, fields)
	}
	return d, nil
}

// ReceiveAny is Receive where more than one kind of message may come.
func (c *Conn) ReceiveAny(wait time.Duration) (kind, fields int, d *Decoder, err error) {
	p, err := c.readFrame(wait)
	if err != nil {
		return 0, 0, nil, err
	}
	kind, fields, err = c.dec.Begin(p)
	return kind, fields, c.dec, err
}

// kindStatus is the message that every protocol knows: code, seconds until a retry makes sense.
const (
	kindStatus   = 0
	statusFields = 2
)

// SendStatus sends a status.
func (c *Conn) SendStatus(s Status) error {
	e := c.Begin(kindStatus, statusFields)
	e.Int(int64(s.Code))
	e.Int(int64(s.RetryAfter / time.Second))
	return c.Send(CodecNone)
}

// ReceiveOK waits for the status that says all went well, and returns any other as an error.
func (c *Conn) ReceiveOK(wait time.Duration) error {
	got, _, _, err := c.ReceiveAny(wait)
	if s, ok := errors.AsType[Status](err); ok && s.Code == CodeOK {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%w: message %d, want a status", ErrMalformed, got)
	}
	return err
}

// readFrame waits for a frame and returns its payload, valid until the next call.
func (c *Conn) readFrame(wait time.Duration) ([]byte, error) {
	if err := c.ReceiveFrame(&c.received, wait); err != nil {
		return nil, err
	}
	return c.Unpack(&c.received)
}

// read reads what is there, at least a byte, waiting at most so long.
func (c *Conn) read(b []byte, wait time.Duration) (int, error) {
	if err := c.s.SetReadDeadline(c.until(wait, c.slowBy)); err != nil {
		return 0, fmt.Errorf("set deadline: %w", err)
	}
	b = b[:c.rates.in().piece(len(b))]
	for {
		n, err := c.s.Read(b)
		c.in.Add(int64(n))
		c.traffic.In.Add(int64(n))
		c.rates.in().take(n, c.ended)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// write writes all of b in pieces, so that a slow link is told from one that stands still.
func (c *Conn) write(b []byte) error {
	const piece = 64 << 10
	for len(b) > 0 {
		next := c.rates.out().piece(min(len(b), piece))
		c.rates.out().take(next, c.ended)
		if err := c.s.SetWriteDeadline(c.until(WriteTimeout, time.Time{})); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		n, err := c.s.Write(b[:next])
		c.out.Add(int64(n))
		c.traffic.Out.Add(int64(n))
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// until returns the earliest of now + wait, bound, and the deadline of everything.
func (c *Conn) until(wait time.Duration, bound time.Time) time.Time {
	t := time.Now().Add(wait)
	for _, b := range [...]time.Time{bound, c.deadline} {
		if !b.IsZero() && b.Before(t) {
			t = b
		}
	}
	return t
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
