package wire

import (
	"encoding/binary"
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
	in, out atomic.Int64
	memory  memory

	accept   CodecSet  // codecs read
	limit    int       // of frames read, bytes; payloads are limited to four times as much
	deadline time.Time // of everything, zero = none
	slowBy   time.Time // of the frame being read, zero = none

	enc      *Encoder
	dec      *Decoder
	wbuf     []byte // frame being sent
	rbuf     []byte // frame being received
	unpacked []byte // its payload
}

// NewConn returns a Conn on s. It doesn't own s: see [Run].
func NewConn(s Stream, cfg Config) *Conn {
	cfg = cfg.WithDefaults()
	return &Conn{
		s: s, codecs: cfg.Codecs, traffic: cfg.Traffic, accept: AllCodecs, limit: MaxFrame,
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

// Begin starts a message of so many fields after the kind, and returns the encoder to write them with.
func (c *Conn) Begin(kind, fields int) *Encoder {
	c.enc.Reset()
	c.enc.Array(fields + 1)
	c.enc.Int(int64(kind))
	return c.enc
}

// Begun returns the message that was begun, as far as it is written; valid until the next call of any other method.
func (c *Conn) Begun() []byte { return c.enc.Payload() }

// Send sends the message that was begun, packed with codec if that makes it smaller.
func (c *Conn) Send(codec Codec) error {
	p := c.enc.Payload()
	if len(p) > MaxPayload {
		return fmt.Errorf("send frame: payload of %d bytes, limit %d", len(p), MaxPayload)
	}
	if len(p) < minCompress {
		codec = CodecNone
	}
	var head [maxLengthSize + 1]byte // the length ends where the codec byte stands
	head[maxLengthSize] = byte(codec)
	b, err := c.codecs.pack(append(c.wbuf[:0], head[:]...), p, codec)
	if err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	if codec != CodecNone && len(b) >= len(head)+len(p) {
		head[maxLengthSize] = byte(CodecNone)
		b = append(append(b[:0], head[:]...), p...)
	}
	c.wbuf = b
	n := len(b) - maxLengthSize
	if n > MaxFrame {
		return fmt.Errorf("send frame: %d bytes, limit %d", n, MaxFrame)
	}
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], uint64(n))
	copy(b[maxLengthSize-w:], length[:w])
	if err := c.write(b[maxLengthSize-w:]); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// Receive waits for a message of this kind with so many fields after the kind, and returns the decoder to read
// them with, valid until the next Receive. A status of the other side is returned as a [Status] error. The error is
// exactly [io.EOF] if the other side closed the stream between two frames.
func (c *Conn) Receive(wait time.Duration, kind, fields int) (*Decoder, error) {
	got, n, err := c.receive(wait)
	switch {
	case err != nil:
		return nil, err
	case got == kindStatus:
		return nil, c.readStatus(n)
	case got != kind || n != fields:
		return nil, fmt.Errorf("%w: message %d with %d fields, want %d with %d", ErrMalformed, got, n, kind, fields)
	}
	return c.dec, nil
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
	got, n, err := c.receive(wait)
	if err != nil {
		return err
	}
	if got != kindStatus {
		return fmt.Errorf("%w: message %d, want a status", ErrMalformed, got)
	}
	err = c.readStatus(n)
	if s, ok := errors.AsType[Status](err); ok && s.Code == CodeOK {
		return nil
	}
	return err
}

func (c *Conn) readStatus(fields int) error {
	if fields != statusFields {
		return fmt.Errorf("%w: status with %d fields", ErrMalformed, fields)
	}
	s := Status{Code: Code(c.dec.Int(100, 499))}
	s.RetryAfter = time.Duration(c.dec.Int(0, int64(MaxRetryAfter/time.Second))) * time.Second
	if err := c.dec.Close(); err != nil {
		return err
	}
	return s
}

// receive reads a frame, and of its message the kind and the number of fields after it.
func (c *Conn) receive(wait time.Duration) (kind, fields int, err error) {
	p, err := c.readFrame(wait)
	if err != nil {
		return 0, 0, err
	}
	c.dec.Reset(p)
	fields = c.dec.List(maxFields+1, 1) - 1
	kind = int(c.dec.Int(0, maxKind))
	if err := c.dec.Err(); err != nil {
		return 0, 0, err
	}
	return kind, fields, nil
}

// No message has more fields, or a higher kind.
const (
	maxFields = 31
	maxKind   = 127
)

// readFrame waits for a frame and returns its payload, valid until the next call.
func (c *Conn) readFrame(wait time.Duration) ([]byte, error) {
	n, err := c.readLength(wait)
	if err != nil {
		return nil, err
	}
	c.slowBy = time.Now().Add(slowGrace + time.Duration(n)*time.Second/minRate)
	defer func() { c.slowBy = time.Time{} }()
	c.rbuf = grow(c.rbuf[:0], n)[:n]
	for b := c.rbuf; len(b) > 0; {
		r, err := c.read(b, IdleTimeout)
		b = b[r:]
		if err != nil && len(b) > 0 {
			return nil, fmt.Errorf("read frame: %w", noEOF(err))
		}
	}
	codec := Codec(c.rbuf[0])
	if codec == CodecNone {
		return c.rbuf[1:], nil
	}
	if !c.accept.Has(codec) {
		return nil, fmt.Errorf("read frame: codec %d: %w", codec, ErrMalformed)
	}
	p, err := c.codecs.unpack(c.unpacked[:0], c.rbuf[1:], codec, c.limit*(MaxPayload/MaxFrame))
	if err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	c.unpacked = p
	return p, nil
}

// readLength reads the length in front of a frame, byte by byte: it is one to three bytes long.
func (c *Conn) readLength(wait time.Duration) (int, error) {
	var b [1]byte
	n := 0
	for shift := 0; shift < 7*maxLengthSize; shift += 7 {
		r, err := c.read(b[:], wait)
		if r == 0 {
			if shift == 0 && errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, fmt.Errorf("read frame: %w", noEOF(err))
		}
		wait = IdleTimeout
		n |= int(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			if n == 0 || (b[0] == 0 && shift > 0) {
				break // zero, or padded
			}
			if n > c.limit {
				return 0, fmt.Errorf("read frame: %d bytes, limit %d: %w", n, c.limit, ErrMalformed)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("read frame: length: %w", ErrMalformed)
}

// read reads what is there, at least a byte, waiting at most so long.
func (c *Conn) read(b []byte, wait time.Duration) (int, error) {
	if err := c.s.SetReadDeadline(c.until(wait, c.slowBy)); err != nil {
		return 0, fmt.Errorf("set deadline: %w", err)
	}
	for {
		n, err := c.s.Read(b)
		c.in.Add(int64(n))
		c.traffic.In.Add(int64(n))
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// write writes all of b in pieces, so that a slow link is told from one that stands still.
func (c *Conn) write(b []byte) error {
	const piece = 64 << 10
	for len(b) > 0 {
		if err := c.s.SetWriteDeadline(c.until(WriteTimeout, time.Time{})); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		n, err := c.s.Write(b[:min(len(b), piece)])
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
