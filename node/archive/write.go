package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/peerdex/peerdex/index"
)

// Writer writes a file: make one with [NewWriter], add all locations of its manifest in their order, and close it. Not
// safe for concurrent use.
type Writer struct {
	out   io.Writer
	zw    *zstd.Encoder
	m     Manifest
	added int
	err   error // sticky
}

// NewWriter writes the manifest. The error is [index.ErrInvalid] if it does not keep to the limits.
func NewWriter(out io.Writer, m Manifest) (*Writer, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	b, err := json.Marshal(manifestJSON{Format, m})
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	zw, err := zstd.NewWriter(nil, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	w := &Writer{out: out, zw: zw, m: m}
	return w, w.frame(func() error { return w.member(manifestName, b) })
}

// Add writes the next location: its head, the canonical bytes of its record, and a compact snapshot of so many bytes.
func (w *Writer) Add(head *index.SignedHead, record []byte, size int64, snapshot io.Reader) error {
	if w.added == len(w.m.Locations) || w.m.Locations[w.added] != head.Location {
		return fmt.Errorf("add %v: it is not the next of the manifest: %w", head.Location, index.ErrInvalid)
	}
	h, err := head.MarshalBinary()
	if err != nil {
		return err
	}
	i := w.added
	w.added++
	return w.frame(func() error {
		if err := w.member(headName(i), append(h, record...)); err != nil {
			return err
		}
		return w.stream(snapshotName(i), size, snapshot)
	})
}

// Close writes the end. The error is [index.ErrInvalid] if a location of the manifest was not added.
func (w *Writer) Close() error {
	if w.err == nil && w.added < len(w.m.Locations) {
		return fmt.Errorf("%d of %d locations were added: %w", w.added, len(w.m.Locations), index.ErrInvalid)
	}
	return w.frame(func() error {
		_, err := w.zw.Write(make([]byte, endSize))
		return err
	})
}

// frame compresses what write writes as one frame. After an error nothing more is written.
func (w *Writer) frame(write func() error) error {
	if w.err != nil {
		return w.err
	}
	w.zw.Reset(w.out)
	if w.err = write(); w.err == nil {
		w.err = w.zw.Close()
	}
	return w.err
}

func (w *Writer) member(name string, content []byte) error {
	h, err := header(name, int64(len(content)))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, b := range [][]byte{h, content, make([]byte, padding(int64(len(content))))} {
		if _, err := w.zw.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) stream(name string, size int64, content io.Reader) error {
	h, err := header(name, size)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := w.zw.Write(h); err != nil {
		return err
	}
	if _, err := io.CopyN(w.zw, content, size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = w.zw.Write(make([]byte, padding(size)))
	return err
}
