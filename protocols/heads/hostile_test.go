package heads

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// TestHostile sends one server what no honest client sends.
func TestHostile(t *testing.T) {
	t.Parallel()
	key := testKey("a")
	good := announced(t, key, 3, 10)
	heads := func(fn func(a *Announced)) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			a := good
			a.Record = bytes.Clone(a.Record)
			fn(&a)
			return sendHeads(c, []Announced{a}, nil)
		}
	}
	members := digestRecords(nil)
	hello := func(c *wire.Conn) error { return sendGreeting(c, greeting{members: members, heads: digest{n: 1}}) }
	stranger := func(c *wire.Conn) error { return sendGreeting(c, greeting{heads: digest{n: 1}}) }
	known := func(c *wire.Conn) error { return sendKnown(c, true, nil) }
	records := func(c *wire.Conn) error { return c.SendBlobs(kindRecords, nil) }
	raw := func(v int64, software string, n int64, sum []byte) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			e := c.Begin(kindHello, helloFields)
			e.Int(v)
			e.String(software)
			for range 2 {
				e.Int(n)
				e.Bytes(sum)
			}
			return c.Send(wire.CodecNone)
		}
	}
	blobs := func(n, size int) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			list := make([][]byte, n)
			for i := range list {
				list[i] = make([]byte, size)
			}
			return c.SendBlobs(kindRecords, list)
		}
	}
	part := func(last bool, gone ...int64) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			e := c.Begin(kindHeads, headsFields)
			e.Bool(last)
			e.Array(0)
			e.Array(len(gone))
			for _, g := range gone {
				e.Int(g)
			}
			return c.Send(wire.CodecNone)
		}
	}
	sum := make([]byte, index.HashSize)
	for name, c := range map[string]struct {
		steps []func(c *wire.Conn) error
		want  error
	}{
		"version 2":        {[]func(c *wire.Conn) error{raw(2, "", 0, sum)}, wire.ErrVersion},
		"long software":    {[]func(c *wire.Conn) error{raw(version, strings.Repeat("x", MaxSoftware+1), 0, sum)}, wire.ErrMalformed},
		"binary software":  {[]func(c *wire.Conn) error{raw(version, "\xff", 0, sum)}, wire.ErrMalformed},
		"short digest":     {[]func(c *wire.Conn) error{raw(version, "", 0, sum[1:])}, wire.ErrMalformed},
		"too many":         {[]func(c *wire.Conn) error{raw(version, "", MaxHeads+1, sum)}, wire.ErrMalformed},
		"no hello":         {[]func(c *wire.Conn) error{records}, wire.ErrMalformed},
		"too many records": {[]func(c *wire.Conn) error{stranger, blobs(membership.MaxRecords+1, 1)}, wire.ErrMalformed},
		"long record":      {[]func(c *wire.Conn) error{stranger, blobs(1, membership.MaxRecordLen+1)}, wire.ErrMalformed},
		"no records":       {[]func(c *wire.Conn) error{stranger, known}, wire.ErrMalformed},
		"more records":     {[]func(c *wire.Conn) error{hello, records}, wire.ErrMalformed},
		"heads at once":    {[]func(c *wire.Conn) error{hello, heads(func(*Announced) {})}, wire.ErrMalformed},
		"half a tag":       {[]func(c *wire.Conn) error{hello, func(c *wire.Conn) error { return sendKnown(c, false, sum[:tagSize+1]) }}, wire.ErrMalformed},
		"same, with tags":  {[]func(c *wire.Conn) error{hello, func(c *wire.Conn) error { return sendKnown(c, true, sum[:tagSize]) }}, wire.ErrMalformed},
		"too many tags": {[]func(c *wire.Conn) error{hello, func(c *wire.Conn) error {
			return sendKnown(c, false, make([]byte, (MaxHeads+1)*tagSize))
		}}, wire.ErrMalformed},
		"bad signature":        {[]func(c *wire.Conn) error{hello, known, heads(func(a *Announced) { a.Head.Signature[3] ^= 1 })}, wire.ErrMalformed},
		"other head":           {[]func(c *wire.Conn) error{hello, known, heads(func(a *Announced) { a.Head.Count, a.Head.NextID = 9, 99 })}, wire.ErrMalformed},
		"other record":         {[]func(c *wire.Conn) error{hello, known, heads(func(a *Announced) { a.Record[len(a.Record)-1] ^= 1 })}, wire.ErrMalformed},
		"wants, holds nothing": {[]func(c *wire.Conn) error{hello, known, heads(func(a *Announced) { a.Held, a.Wants = false, true })}, wire.ErrMalformed},
		"no record":            {[]func(c *wire.Conn) error{hello, known, heads(func(a *Announced) { a.Record = nil })}, wire.ErrMalformed},
		"list of nothing":      {[]func(c *wire.Conn) error{hello, known, part(false)}, wire.ErrMalformed},
		"gone too early":       {[]func(c *wire.Conn) error{hello, known, part(false, 0)}, wire.ErrMalformed},
		"gone beyond the tags": {[]func(c *wire.Conn) error{hello, known, part(true, 2)}, wire.ErrMalformed},
		"gone twice":           {[]func(c *wire.Conn) error{hello, known, part(true, 1, 1)}, wire.ErrMalformed},
		"more gone than tags":  {[]func(c *wire.Conn) error{hello, known, part(true, 0, 1, 1)}, wire.ErrMalformed},
		"head of nothing": {[]func(c *wire.Conn) error{hello, known, func(c *wire.Conn) error {
			e := c.Begin(kindHeads, headsFields)
			e.Bool(true)
			e.Array(1)
			e.Array(announcedFields)
			e.Head(nil)
			e.Bytes(make([]byte, index.SignedHeadSize))
			e.Int(0)
			e.Bool(true)
			e.Bool(true)
			e.Array(0)
			return c.Send(wire.CodecNone)
		}}, wire.ErrMalformed},
	} {
		events := make(chan wire.Event, 1)
		b := &backend{said: []Announced{good, announced(t, key, 4, 10)}}
		srv := NewServer(Config{Backend: b, Config: wire.Config{Observe: func(e wire.Event) { events <- e }}})
		sa, sb := wiretest.Pipe(8 << 20)
		go srv.Serve(sb, "client")
		conn := wire.NewConn(sa, wire.Config{})
		for _, step := range c.steps {
			_ = step(conn) // the server may have hung up
		}
		if ev := <-events; !errors.Is(ev.Err, c.want) {
			t.Errorf("%s: %v, want %v", name, ev.Err, c.want)
		}
		if slices.Contains(b.calls, "heard") || slices.Contains(b.calls, "merge") {
			t.Errorf("%s: reached the backend", name)
		}
		_ = sa.Reset()
		_ = srv.Close()
	}
}

// TestTooManyHeads sends one head more than the limit, all valid.
func TestTooManyHeads(t *testing.T) {
	t.Parallel()
	a := announced(t, testKey("a"), 3, 10)
	sa, sb := wiretest.Pipe(1 << 20)
	got := make(chan error, 1)
	go func() {
		defer func() { _ = sb.Reset() }()
		all, gone, err := receiveHeads(wire.NewConn(sb, wire.Config{}), 0)
		if len(all)+len(gone) > 0 {
			err = errors.New("heads beyond the limit were returned")
		}
		got <- err
	}()
	c := wire.NewConn(sa, wire.Config{})
	for left := MaxHeads + 1; left > 0; left -= 500 {
		n := min(left, 500)
		e := c.Begin(kindHeads, headsFields)
		e.Bool(n == left)
		e.Array(n)
		for range n {
			a.encode(e)
		}
		e.Array(0)
		if c.Send(wire.CodecZstd) != nil {
			break
		}
	}
	if err := <-got; !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}
