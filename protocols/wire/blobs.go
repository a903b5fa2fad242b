package wire

import "fmt"

// BlobLimits bounds a list of byte strings that comes in as many frames as it needs.
type BlobLimits struct {
	Count int // of byte strings
	Each  int // bytes of one
}

const (
	blobFields = 2
	// blobFrame is the size that frames of a list are filled up to. Bytes.
	blobFrame = 256 << 10
)

// SendBlobs sends a list of byte strings in messages of one kind: last bool, list of bin. An empty list is one
// message. A byte string must be shorter than half of [MaxFrame].
func (c *Conn) SendBlobs(kind int, blobs [][]byte) error {
	for {
		n, size := 0, 0
		for n < len(blobs) && n < MaxRows && (n == 0 || size+len(blobs[n]) <= blobFrame) {
			size += len(blobs[n])
			n++
		}
		e := c.Begin(kind, blobFields)
		e.Bool(n == len(blobs))
		e.Array(n)
		for _, b := range blobs[:n] {
			e.Bytes(b)
		}
		if err := c.Send(CodecNone); err != nil {
			return err
		}
		if blobs = blobs[n:]; len(blobs) == 0 {
			return nil
		}
	}
}

// ReceiveBlobs receives what SendBlobs sent.
func (c *Conn) ReceiveBlobs(kind int, l BlobLimits) ([][]byte, error) {
	var all [][]byte
	for {
		d, err := c.Receive(IdleTimeout, kind, blobFields)
		if err != nil {
			return nil, noEOF(err)
		}
		last := d.Bool()
		n := d.List(min(MaxRows, l.Count-len(all)), 2)
		if n == 0 && !last {
			return nil, fmt.Errorf("%w: list goes on with nothing", ErrMalformed)
		}
		size := 0
		for ; n > 0; n-- {
			b := d.Bytes(l.Each)
			all, size = append(all, b), size+len(b)
		}
		if err := d.Close(); err != nil {
			return nil, err
		}
		if err := c.Reserve(size); err != nil {
			return nil, err
		}
		if last {
			return all, nil
		}
	}
}
