package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Sizes in Zstandard's format, in bytes.
const (
	blockHeaderSize = 3
	maxBlock        = 128 << 10
	checksumSize    = 4
)

// frames passes compressed frames on one by one. It reads no more of them than their headers and those of their blocks,
// which say where each ends; so a frame whose content is damaged can be stepped over.
type frames struct {
	src  *bufio.Reader
	left int64 // bytes of the current piece (frame header, or block with its header) that were not passed on yet
	last bool  // no further piece follows in this frame
	err  error // why nothing can be read any more; sticky
}

func newFrames(src io.Reader) *frames {
	return &frames{src: bufio.NewReaderSize(src, 64<<10), last: true}
}

// next steps to the next frame, over what is left of the current one. It returns [io.EOF] at the end of the file.
func (f *frames) next() error {
	if err := f.skip(); err != nil {
		return err
	}
	b, err := f.src.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return f.fail(err)
	}
	if len(b) == 0 {
		return io.EOF
	}
	var h zstd.Header
	err = h.Decode(b)
	size := h.WindowSize
	if h.SingleSegment {
		size = h.FrameContentSize
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return f.fail(io.EOF)
	case err != nil:
		return f.fail(fmt.Errorf("no frame where one begins: %w (%w)", ErrDamaged, err))
	case h.Skippable || h.DictionaryID != 0 || !h.HasCheckSum || size > maxWindow:
		return f.fail(fmt.Errorf("a frame of another kind: %w", ErrDamaged))
	}
	f.left, f.last = int64(h.HeaderSize), false
	return nil
}

// Read reads the current frame, and returns [io.EOF] at its end.
func (f *frames) Read(p []byte) (int, error) {
	if err := f.piece(); err != nil {
		return 0, err
	}
	n, err := f.src.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if n == 0 && err != nil {
		return 0, f.fail(err)
	}
	return n, nil
}

// skip steps over what is left of the current frame.
func (f *frames) skip() error {
	for {
		switch err := f.piece(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		n, err := f.src.Discard(int(f.left))
		f.left -= int64(n)
		if err != nil {
			return f.fail(err)
		}
	}
}

// piece makes sure that there is something to pass on. It returns [io.EOF] at the end of the frame.
func (f *frames) piece() error {
	for f.err == nil && f.left == 0 {
		if f.last {
			return io.EOF
		}
		b, err := f.src.Peek(blockHeaderSize)
		if err != nil {
			return f.fail(err)
		}
		v := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
		size := v >> 3
		if kind := v >> 1 & 3; kind == 3 || size > maxBlock {
			return f.fail(fmt.Errorf("no block where one begins: %w", ErrDamaged))
		} else if kind == 1 {
			size = 1 // one byte, repeated
		}
		f.left, f.last = blockHeaderSize+size, v&1 == 1
		if f.last {
			f.left += checksumSize
		}
	}
	return f.err
}

// fail makes an error final.
func (f *frames) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = ErrTruncated
	}
	f.err = err
	return err
}
