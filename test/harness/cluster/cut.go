package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/node"
)

// errCut is what a connection ends with that was cut.
var errCut = errors.New("the connection was cut")

// Deaf is a change for [New]: a device that never dials, but can be dialed.
func Deaf(c *node.Config) {
	dial(c, func(ma.Multiaddr) (tcp.ContextDialer, error) { return nil, errCut })
}

// dial replaces how a device dials.
func dial(c *node.Config, d tcp.DialerForAddr) {
	c.Libp2p = append(c.Libp2p,
		func(c *libp2p.Config) error { c.Transports = nil; return nil },
		libp2p.Transport(tcp.NewTCPTransport, tcp.WithDialerForAddr(d)))
}

// Cutter is a network that breaks down: of the connections that a device makes, each is cut after some frames more than
// the one before. A frame is a TLS record, in either direction, the handshake's included. The zero value cuts nothing.
// Safe for concurrent use.
type Cutter struct {
	mu    sync.Mutex
	armed bool
	next  int // frames after which the next connection is cut
	step  int
	cuts  int
	conns map[*cutConn]bool
}

// Configure is a change for [New]: the device's connections go through c. Those that others make to it don't: see [Deaf].
func (c *Cutter) Configure(cfg *node.Config) {
	dial(cfg, func(ma.Multiaddr) (tcp.ContextDialer, error) { return c, nil })
}

// Arm cuts what is connected, then the next connection after first frames, and each later one after step frames more.
func (c *Cutter) Arm(first, step int) {
	c.mu.Lock()
	c.armed, c.next, c.step = true, first, step
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for conn := range conns {
		_ = conn.Close()
	}
}

// Cuts is how many connections were cut after their frames.
func (c *Cutter) Cuts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// DialContext connects.
func (c *Cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := &cutConn{Conn: conn, c: c, left: -1}
	if c.armed {
		cut.left = c.next
		c.next += c.step
	}
	if c.conns == nil {
		c.conns = map[*cutConn]bool{}
	}
	c.conns[cut] = true
	return cut, nil
}

// cutConn is a connection that is cut after some frames. One goroutine reads and one writes.
type cutConn struct {
	net.Conn
	c    *Cutter
	left int // frames that still pass; negative = all. Guarded by c.mu

	in, out int // bytes that the record on its way in, or out, still has
}

// frame lets one more frame pass, or cuts.
func (c *cutConn) frame() error {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if c.left > 0 {
		c.left--
	} else if c.left == 0 {
		c.c.cuts++
		c.left--
		delete(c.c.conns, c)
		return errors.Join(errCut, c.Conn.Close())
	}
	return nil
}

// Read reads no further than to the end of a frame's header or body.
func (c *cutConn) Read(b []byte) (int, error) {
	if c.in > 0 || len(b) < 5 {
		n, err := c.Conn.Read(b[:min(len(b), max(c.in, 1))])
		c.in -= n
		return n, err
	}
	n, err := io.ReadFull(c.Conn, b[:5])
	if err != nil {
		return n, err
	}
	c.in = int(binary.BigEndian.Uint16(b[3:5]))
	return n, c.frame()
}

// Write writes frames, of which there may be several.
func (c *cutConn) Write(b []byte) (done int, err error) {
	for done < len(b) {
		if c.out == 0 {
			if err := c.frame(); err != nil {
				return done, err
			}
			if rest := b[done:]; len(rest) >= 5 {
				c.out = 5 + int(binary.BigEndian.Uint16(rest[3:5]))
			} else {
				c.out = len(rest)
			}
		}
		n, err := c.Conn.Write(b[done:min(len(b), done+c.out)])
		done, c.out = done+n, c.out-n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
