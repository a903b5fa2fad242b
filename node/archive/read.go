package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"

	"github.com/peerdex/peerdex/index"
)

// Reader reads a file front to back. Nothing of it is trusted, and no more than a few MiB of memory are ever used. Not
// safe for concurrent use.
type Reader struct {
	src *frames
	zr  *zstd.Decoder
	m   Manifest
}

// Location is one location of a file. It reads its snapshot, which is Size bytes long, until the next one is asked for;
// [io.EOF] says that it was whole, which does not mean that it holds what the head says. See [Reader.Locations].
type Location struct {
	Ref    index.Location
	Head   index.SignedHead // the signature was checked
	Record index.Record
	Raw    []byte // the record's canonical bytes, covered by the head
	Size   int64  // bytes of the snapshot

	of   *Reader
	left int64
	err  error // sticky
}

var _ io.Reader = (*Location)(nil)

// NewReader reads the manifest. The error is [ErrFormat], [ErrNewer], [ErrDamaged] or [ErrTruncated] if the file is to
// blame. Close the reader when done.
func NewReader(src io.Reader) (*Reader, error) {
	zr, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	r := &Reader{src: newFrames(src), zr: zr}
	if err := r.readManifest(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close lets go of the memory. The underlying reader stays open.
func (r *Reader) Close() { r.zr.Close() }

// Manifest says what the file claims to hold.
func (r *Reader) Manifest() Manifest { return r.m }

func (r *Reader) readManifest() error {
	switch err := r.frame(); {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w (%w)", ErrFormat, err)
	case err != nil:
		return err
	}
	b, err := r.member(manifestName, maxManifest)
	if errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	if err == nil {
		err = r.atEnd()
	}
	if err != nil {
		return err
	}
	r.m, err = parseManifest(b)
	return err
}

// Locations yields the locations of the file, as many as the manifest lists. An error beside a location ([ErrDamaged], or
// [index.ErrBadSignature]) is about that one alone: nothing of it but Ref is known, and the next may be whole. An error
// without a location ends the file: what the manifest lists beyond those yielded can't be read. Call it once.
func (r *Reader) Locations() iter.Seq2[*Location, error] {
	return func(yield func(*Location, error) bool) {
		for i, ref := range r.m.Locations {
			l := &Location{Ref: ref}
			err := r.frame()
			if err == nil {
				err = r.open(i, l)
			}
			if r.src.err != nil {
				yield(nil, r.src.err)
				return
			}
			more := yield(l, err)
			l.err = io.ErrClosedPipe // its place in the file is passed
			if !more {
				return
			}
		}
		if err := r.end(); err != nil {
			yield(nil, err)
		}
	}
}

// frame begins to read the next frame, which must be there.
func (r *Reader) frame() error {
	if err := r.src.next(); err != nil {
		if errors.Is(err, io.EOF) {
			err = r.src.fail(err)
		}
		return err
	}
	return r.zr.Reset(r.src)
}

// open reads what comes before a snapshot.
func (r *Reader) open(i int, l *Location) error {
	b, err := r.member(headName(i), index.SignedHeadSize+index.MaxRecordLen)
	if err != nil {
		return err
	}
	if len(b) < index.SignedHeadSize {
		return fmt.Errorf("head of %d bytes: %w", len(b), ErrDamaged)
	}
	var head index.SignedHead
	var record index.Record
	raw := b[index.SignedHeadSize:]
	if err := errors.Join(head.UnmarshalBinary(b[:index.SignedHeadSize]), record.UnmarshalBinary(raw)); err != nil {
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if err := head.Verify(); err != nil {
		return err
	}
	if head.Location != l.Ref || index.HashRecord(raw) != head.Record || head.Library != r.m.Library {
		return fmt.Errorf("the head is of something else: %w", ErrDamaged)
	}
	size, err := r.header(snapshotName(i))
	if err != nil {
		return err
	}
	l.Head, l.Record, l.Raw, l.Size, l.left, l.of = head, record, raw, size, size, r
	return nil
}

// Read reads the snapshot.
func (l *Location) Read(p []byte) (int, error) {
	if l.of == nil && l.err == nil {
		l.err = fmt.Errorf("location %v: %w", l.Ref, ErrDamaged)
	}
	if l.err != nil || len(p) == 0 {
		return 0, l.err
	}
	if l.left == 0 {
		if l.err = l.of.pad(l.Size); l.err == nil {
			l.err = l.of.atEnd()
		}
		if l.err == nil {
			l.err = io.EOF
		}
		return 0, l.err
	}
	n, err := l.of.zr.Read(p[:min(int64(len(p)), l.left)])
	if l.left -= int64(n); err != nil && l.left > 0 {
		l.err = l.of.blame(err)
		return n, l.err
	}
	return n, nil
}

// member reads a small member whole.
func (r *Reader) member(name string, limit int64) ([]byte, error) {
	size, err := r.header(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, limit %d: %w", name, size, limit, ErrDamaged)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r.zr, b); err != nil {
		return nil, r.blame(err)
	}
	return b, r.pad(size)
}

// header reads a tar header, which must be the one that name and size give, and returns the size.
func (r *Reader) header(name string) (int64, error) {
	var got [block]byte
	if _, err := io.ReadFull(r.zr, got[:]); err != nil {
		return 0, r.blame(err)
	}
	// The library reads the size out of this one block and nothing else: the comparison leaves it no room for more.
	h, err := tar.NewReader(bytes.NewReader(got[:])).Next()
	if err != nil {
		return 0, fmt.Errorf("%s: %w (%w)", name, ErrDamaged, err)
	}
	want, err := header(name, h.Size)
	if err != nil || !bytes.Equal(want, got[:]) {
		return 0, fmt.Errorf("%s: another header: %w", name, ErrDamaged)
	}
	return h.Size, nil
}

// pad reads the zeros after a member.
func (r *Reader) pad(size int64) error {
	b := make([]byte, padding(size))
	if _, err := io.ReadFull(r.zr, b); err != nil {
		return r.blame(err)
	}
	return zeros(b)
}

func zeros(b []byte) error {
	for _, c := range b {
		if c != 0 {
			return fmt.Errorf("bytes where none belong: %w", ErrDamaged)
		}
	}
	return nil
}

// atEnd makes sure that the frame ends here. The checksum is compared then.
func (r *Reader) atEnd() error {
	switch _, err := io.ReadFull(r.zr, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("more than the header says: %w", ErrDamaged)
	case !errors.Is(err, io.EOF) || r.src.err != nil:
		return r.blame(err)
	}
	return nil
}

// end reads the last frame, and makes sure that nothing follows.
func (r *Reader) end() error {
	if err := r.frame(); err != nil {
		return err
	}
	b := make([]byte, endSize)
	_, err := io.ReadFull(r.zr, b)
	if err != nil {
		return r.blame(err)
	}
	if err := errors.Join(zeros(b), r.atEnd()); err != nil {
		return err
	}
	switch err := r.src.next(); {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, ErrTruncated):
		return fmt.Errorf("the file goes on after its end: %w", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// blame says why a frame could not be unpacked: the file as a whole can't be read on, or this frame is damaged.
func (r *Reader) blame(err error) error {
	if r.src.err != nil {
		return r.src.err
	}
	return fmt.Errorf("%w (%w)", ErrDamaged, err)
}
