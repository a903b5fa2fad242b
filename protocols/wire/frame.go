package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Frame is one frame outside of a [Conn], so that one goroutine can pack or unpack it while others move frames on the
// stream. The zero value is an empty one; its room is used again and again. Not safe for concurrent use.
type Frame struct {
	b        []byte // room for the longest length, codec, payload as it is sent
	from     int    // where the length begins in it
	unpacked []byte // its payload, if that is packed
}

// Pack makes f the frame of a message, packed with codec if that makes it smaller.
func (p *Codecs) Pack(f *Frame, payload []byte, codec Codec) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("payload of %d bytes, limit %d", len(payload), MaxPayload)
	}
	if len(payload) < minCompress {
		codec = CodecNone
	}
	var head [maxLengthSize + 1]byte // the length ends where the codec byte stands
	head[maxLengthSize] = byte(codec)
	b, err := p.pack(append(f.b[:0], head[:]...), payload, codec)
	if err != nil {
		return err
	}
	if codec != CodecNone && len(b) >= len(head)+len(payload) {
		head[maxLengthSize] = byte(CodecNone)
		b = append(append(b[:0], head[:]...), payload...)
	}
	f.b = b
	n := len(b) - maxLengthSize
	if n > MaxFrame {
		return fmt.Errorf("%d bytes, limit %d", n, MaxFrame)
	}
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], uint64(n))
	f.from = maxLengthSize - w
	copy(b[f.from:], length[:w])
	return nil
}

// SendFrame sends a frame that was packed.
func (c *Conn) SendFrame(f *Frame) error {
	if err := c.write(f.b[f.from:]); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// ReceiveFrame waits for a frame and reads it as it is. The error is exactly [io.EOF] if the other side closed the
// stream between two frames.
func (c *Conn) ReceiveFrame(f *Frame, wait time.Duration) error {
	n, err := c.readLength(wait)
	if err != nil {
		return err
	}
	c.slowBy = time.Now().Add(slowGrace + time.Duration(n)*time.Second/minRate)
	defer func() { c.slowBy = time.Time{} }()
	f.from = maxLengthSize
	f.b = grow(f.b[:0], maxLengthSize+n)[:maxLengthSize+n]
	for b := f.b[maxLengthSize:]; len(b) > 0; {
		r, err := c.read(b, IdleTimeout)
		b = b[r:]
		if err != nil && len(b) > 0 {
			return fmt.Errorf("read frame: %w", noEOF(err))
		}
	}
	return nil
}

// Unpack returns the payload of a frame that was received, valid until f is used again. It may be called while another
// goroutine uses c.
func (c *Conn) Unpack(f *Frame) ([]byte, error) {
	codec, packed := Codec(f.b[maxLengthSize]), f.b[maxLengthSize+1:]
	if codec == CodecNone {
		return packed, nil
	}
	if !c.accept.Has(codec) {
		return nil, fmt.Errorf("read frame: codec %d: %w", codec, ErrMalformed)
	}
	p, err := c.codecs.unpack(f.unpacked[:0], packed, codec, c.limit*(MaxPayload/MaxFrame))
	if err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	f.unpacked = p
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
