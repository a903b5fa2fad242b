package wire

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how a payload is packed. Values are part of the format.
type Codec uint8

// The codecs. Every implementation reads all of them.
const (
	CodecNone Codec = 0
	CodecZstd Codec = 1
	CodecGzip Codec = 2
	CodecS2   Codec = 3
)

// CodecSet is a set of codecs, bit n for codec n. [CodecNone] belongs to every set.
type CodecSet uint8

// The sets that matter: all codecs, and none but the plain one.
const (
	AllCodecs CodecSet = 1<<CodecZstd | 1<<CodecGzip | 1<<CodecS2 | 1<<CodecNone
	Plain     CodecSet = 1 << CodecNone
)

// Has reports whether c belongs to the set.
func (s CodecSet) Has(c Codec) bool { return c == CodecNone || (c < 8 && s&(1<<c) != 0) }

// Best returns the codec of the set that packs an index best for its time: zstd, then s2, then gzip.
func (s CodecSet) Best() Codec {
	for _, c := range [...]Codec{CodecZstd, CodecS2, CodecGzip} {
		if s.Has(c) {
			return c
		}
	}
	return CodecNone
}

// Codecs keeps compressors and decompressors for reuse: they are costly to make. The zero value is ready; it is
// safe for concurrent use and must not be copied. One for all protocols of a node is enough.
type Codecs struct {
	zstdEnc, zstdDec, gzipEnc, gzipDec sync.Pool
}

// pack appends src, packed with c, to dst.
func (p *Codecs) pack(dst, src []byte, c Codec) ([]byte, error) {
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecZstd:
		e, err := p.zstdEncoder()
		if err != nil {
			return nil, err
		}
		defer p.zstdEnc.Put(e)
		return e.EncodeAll(src, dst), nil
	case CodecGzip:
		return p.packGzip(dst, src)
	case CodecS2:
		n := len(dst)
		dst = append(dst, make([]byte, s2.MaxEncodedLen(len(src)))...)
		return dst[:n+len(s2.Encode(dst[n:], src))], nil
	}
	return nil, fmt.Errorf("codec %d: %w", c, ErrMalformed)
}

// unpack appends what src unpacks to with c to dst, which it may use up to its capacity. More than limit bytes are
// an error, found before they are kept.
func (p *Codecs) unpack(dst, src []byte, c Codec, limit int) ([]byte, error) {
	switch c {
	case CodecNone:
		if len(src) > limit {
			return nil, fmt.Errorf("payload of %d bytes, limit %d: %w", len(src), limit, ErrMalformed)
		}
		return append(dst, src...), nil
	case CodecZstd:
		return p.unpackZstd(dst, src, limit)
	case CodecGzip:
		return p.unpackGzip(dst, src, limit)
	case CodecS2:
		n, err := s2.DecodedLen(src)
		if err != nil {
			return nil, fmt.Errorf("s2: %w: %w", ErrMalformed, err)
		}
		if n > limit {
			return nil, fmt.Errorf("s2: payload of %d bytes, limit %d: %w", n, limit, ErrMalformed)
		}
		dst = grow(dst, n)
		out, err := s2.Decode(dst[len(dst):len(dst)+n], src)
		if err != nil {
			return nil, fmt.Errorf("s2: %w: %w", ErrMalformed, err)
		}
		return dst[:len(dst)+len(out)], nil
	}
	return nil, fmt.Errorf("codec %d: %w", c, ErrMalformed)
}

func (p *Codecs) zstdEncoder() (*zstd.Encoder, error) {
	if e, ok := p.zstdEnc.Get().(*zstd.Encoder); ok {
		return e, nil
	}
	// The fastest level takes a fifth less time than the default for 5 % more bytes of an index. No checksum: the
	// transport has its own.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return e, nil
}

// unpackZstd uses DecodeAll, which unpacks into dst without a window of its own, twice as fast as a stream for
// frames of our size. WithDecoderMaxMemory bounds DecodeAll, block by block; it would not bound a stream.
func (p *Codecs) unpackZstd(dst, src []byte, limit int) ([]byte, error) {
	d, ok := p.zstdDec.Get().(*zstd.Decoder)
	if !ok {
		var err error
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(MaxPayload), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
	}
	defer p.zstdDec.Put(d)
	start := len(dst)
	dst, err := d.DecodeAll(src, dst)
	if err != nil {
		return nil, fmt.Errorf("zstd: %w: %w", ErrMalformed, err)
	}
	if len(dst)-start > limit {
		return nil, fmt.Errorf("zstd: payload of more than %d bytes: %w", limit, ErrMalformed)
	}
	return dst, nil
}

func (p *Codecs) packGzip(dst, src []byte) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	w, ok := p.gzipEnc.Get().(*gzip.Writer)
	if !ok {
		w = gzip.NewWriter(b)
	}
	defer p.gzipEnc.Put(w)
	w.Reset(b)
	if _, err := w.Write(src); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return b.Bytes(), nil
}

func (p *Codecs) unpackGzip(dst, src []byte, limit int) ([]byte, error) {
	in := bytes.NewReader(src)
	r, ok := p.gzipDec.Get().(*gzip.Reader)
	if !ok {
		r = new(gzip.Reader)
	}
	defer p.gzipDec.Put(r)
	if err := r.Reset(in); err != nil {
		return nil, fmt.Errorf("gzip: %w: %w", ErrMalformed, err)
	}
	r.Multistream(false) // after Reset, which turns it on
	dst, err := readLimited(dst, r, limit)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if in.Len() > 0 {
		return nil, fmt.Errorf("gzip: %d bytes after the end: %w", in.Len(), ErrMalformed)
	}
	return dst, nil
}

// readLimited appends what r holds to dst, at most limit bytes; a reader that holds more is an error.
func readLimited(dst []byte, r io.Reader, limit int) ([]byte, error) {
	start := len(dst)
	l := io.LimitReader(r, int64(limit)+1)
	for {
		if len(dst) == cap(dst) {
			dst = grow(dst, min(max(len(dst)-start, minCompress), limit+1))
		}
		n, err := l.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst)-start > limit {
			return nil, fmt.Errorf("payload of more than %d bytes: %w", limit, ErrMalformed)
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
}

// grow returns b with room for n bytes more.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, len(b)+n), b...)
}
