// Package wire is the common ground of peerdex's stream protocols: framing, compression, message encoding, status
// codes, and the shell that a stream's handler runs in. PROTOCOL.md beside this file says the same byte by byte, for
// other implementations.
//
// # Frames and messages
//
// A stream carries frames: uvarint length, one codec byte, payload. A payload is one message: a msgpack array in
// fixed order whose first element is the message's kind. [Conn] sends and receives messages; [Encoder] and [Decoder]
// write and read the fields:
//
//	e := c.Begin(kindRequest, 2)
//	e.Int(1)
//	e.Bytes(id)
//	err := c.Send(wire.CodecNone)
//	...
//	d, err := c.Receive(wire.IdleTimeout, kindAnswer, 1)
//	n := d.Int(0, limit)
//	err = d.Close()
//
// Kind 0 is a [Status] in every protocol: Receive returns it as an error.
//
// # What a peer can do to us
//
// Everything that arrives is hostile. A frame is at most [MaxFrame] bytes on the wire and [MaxPayload] bytes when
// unpacked, and is read whole before it is looked at; a length inside it is checked against what is left of it
// before it is used. No input makes the decoder allocate more than a small multiple of the payload. Peers never see
// the text of our errors, only a status code; [StatusOf] is the one place that maps errors to codes.
//
// # Streams
//
// [Run] does on one stream what all protocols need: it reserves memory from libp2p's resource manager, ends the
// stream when the context ends, recovers panics, closes on success and resets on error. [Shell] is Run for handlers:
// it also tells the peer why it was refused, and reports one [Event] a stream. Both work on the small [Stream]
// interface, so that a core can be tested without a network; see package wiretest.
package wire
