package query

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// provide answers one question with exactly what send sends.
func provide(t testing.TB, r Request, send func(c *wire.Conn) error) (Answer, error) {
	t.Helper()
	a, b := wiretest.Pipe(wire.MaxPayload)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if send != nil {
			_ = send(wire.NewConn(a, wire.Config{}))
		}
		_ = a.Close()
	}()
	ans, err := Ask(context.Background(), b, &r, Options{Library: testLibrary, VerifyHead: func(h *index.SignedHead) error {
		if h.AsOf == 666 {
			return errRemoved
		}
		return nil
	}})
	<-done
	return ans, err
}

var errRemoved = errors.New("removed")

func sendMessage(m message) func(c *wire.Conn) error {
	return func(c *wire.Conn) error {
		m.encode(c)
		return c.Send(wire.CodecZstd)
	}
}

func encodeBody(b body) []byte {
	e := wire.NewEncoder()
	b.append(e, math.MaxInt)
	return e.Payload()
}

// TestHostileHead changes one thing in the head of an honest answer.
func TestHostileHead(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3)
	r := Request{Location: p.st.Head.Location, Op: OpList}
	_, l, err := p.List(t.Context(), &r)
	if err != nil {
		t.Fatal(err)
	}
	honest := message{State: p.st, outcome: given, body: encodeBody(l)}
	if _, err := provide(t, r, sendMessage(honest)); err != nil {
		t.Fatal(err)
	}
	resign := func(m *message, key ed25519.PrivateKey, change func(h *index.Head)) {
		h := m.Head.Head
		change(&h)
		h.Location.Owner = index.DeviceID(key.Public().(ed25519.PublicKey))
		s, err := index.SignHead(h, key)
		if err != nil {
			t.Fatal(err)
		}
		m.Head = s
	}
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for name, c := range map[string]struct {
		change func(m *message)
		want   error
	}{
		"signature":        {func(m *message) { m.Head.Signature[0] ^= 1 }, index.ErrBadSignature},
		"seq":              {func(m *message) { m.Head.Seq++ }, index.ErrBadSignature},
		"another owner":    {func(m *message) { resign(m, stranger, func(*index.Head) {}) }, wire.ErrMalformed},
		"another location": {func(m *message) { resign(m, ownerKey(), func(h *index.Head) { h.Location.ID[0] ^= 1 }) }, wire.ErrMalformed},
		"another library":  {func(m *message) { resign(m, ownerKey(), func(h *index.Head) { h.Library[0] ^= 1 }) }, wire.ErrMalformed},
		"removed owner":    {func(m *message) { resign(m, ownerKey(), func(h *index.Head) { h.AsOf = 666 }) }, errRemoved},
		"record":           {func(m *message) { m.Record = append(bytes.Clone(m.Record[:len(m.Record)-1]), 1) }, wire.ErrMalformed},
		"no record":        {func(m *message) { m.Record = nil }, wire.ErrMalformed},
		"nonsense record": {func(m *message) {
			m.Record = []byte("record")
			resign(m, ownerKey(), func(h *index.Head) { h.Record = index.HashRecord(m.Record) })
		}, wire.ErrMalformed},
		"rows above the head": {func(m *message) { resign(m, ownerKey(), func(h *index.Head) { h.Seq = 1 }) }, wire.ErrMalformed},
		"absent root":         {func(m *message) { m.outcome, m.body = absent, nil }, wire.ErrMalformed},
		"same as nothing":     {func(m *message) { m.outcome, m.body = same, nil }, wire.ErrMalformed},
		"body of nothing":     {func(m *message) { m.body = nil }, wire.ErrMalformed},
		"body and absent":     {func(m *message) { m.outcome = absent }, wire.ErrMalformed},
		"too large":           {func(m *message) { m.body = make([]byte, maxBody+1) }, wire.ErrMalformed},
	} {
		m := honest
		c.change(&m)
		if _, err := provide(t, r, sendMessage(m)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestHostileBody answers with bodies that no honest provider sends.
func TestHostileBody(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3)
	loc := p.st.Head.Location
	root, docs, file := p.rows[0], p.rows[1], p.rows[3]
	row := func(e index.Entry, change func(e *index.Entry)) index.Entry {
		change(&e)
		return e
	}
	deep := strings.Repeat("d/", index.MaxDepth) + file.Name
	for name, c := range map[string]struct {
		r Request
		b body
	}{
		"list: another folder":       {Request{Op: OpList, Path: "docs"}, &Listing{Folder: p.rows[2]}},
		"list: another id":           {Request{Op: OpList, Entry: 2}, &Listing{Folder: root}},
		"list: the root instead":     {Request{Op: OpList, Path: "docs"}, &Listing{Folder: root}},
		"list: folder never given":   {Request{Op: OpList, Path: "docs"}, &Listing{Folder: row(docs, func(e *index.Entry) { e.ID = 99 })}},
		"list: child of another":     {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, Entries: []index.Entry{p.rows[2]}}},
		"list: out of order":         {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, Entries: []index.Entry{p.rows[4], p.rows[3]}}},
		"list: twice":                {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, Entries: []index.Entry{file, file}}},
		"list: not after":            {Request{Op: OpList, Path: "docs", After: &Mark{ID: file.ID, Text: file.Name}}, &Listing{Folder: docs, Entries: []index.Entry{file}}},
		"list: more than asked for":  {Request{Op: OpList, Path: "docs", Limit: 1}, &Listing{Folder: docs, Entries: p.rows[3:5]}},
		"list: in a file":            {Request{Op: OpList, Path: "a.txt"}, &Listing{Folder: p.rows[2], Entries: []index.Entry{row(file, func(e *index.Entry) { e.Parent = 3 })}}},
		"list: for ever":             {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, More: true}},
		"list: seq above the head":   {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, Entries: []index.Entry{row(file, func(e *index.Entry) { e.Seq = 99 })}}},
		"list: bad name":             {Request{Op: OpList, Path: "docs"}, &Listing{Folder: docs, Entries: []index.Entry{row(file, func(e *index.Entry) { e.Name = ".." })}}},
		"entry: another":             {Request{Op: OpEntry, Entry: 2}, &Found{Entry: file, Path: "docs/file-0000"}},
		"entry: another path":        {Request{Op: OpEntry, Path: "docs/file-0000"}, &Found{Entry: file, Path: "other/file-0000"}},
		"entry: another name":        {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: "docs/other"}},
		"entry: children of a file":  {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: "docs/file-0000", Children: 1}},
		"entry: too many children":   {Request{Op: OpEntry, Entry: 2}, &Found{Entry: docs, Path: "docs", Children: 6}},
		"entry: path out of there":   {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: "../" + file.Name}},
		"entry: empty step":          {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: "docs//" + file.Name}},
		"entry: too deep":            {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: deep}},
		"entry: path too long":       {Request{Op: OpEntry, Entry: file.ID}, &Found{Entry: file, Path: strings.Repeat("d", maxPath+1)}},
		"search: the root":           {Request{Op: OpSearch, Text: "x"}, &Hits{Hits: []Hit{{root, ""}}}},
		"search: more than asked":    {Request{Op: OpSearch, Text: "x", Limit: 1}, &Hits{Hits: []Hit{{file, "docs/file-0000"}, {p.rows[4], "docs/file-0001"}}}},
		"search: out of order":       {Request{Op: OpSearch, Text: "x"}, &Hits{Hits: []Hit{{p.rows[4], "docs/file-0001"}, {file, "docs/file-0000"}}}},
		"search: out of size order":  {Request{Op: OpSearch, Text: "x", Order: Order{BySize, false}}, &Hits{Hits: []Hit{{file, "docs/file-0000"}, {p.rows[4], "docs/file-0001"}}}},
		"search: not after":          {Request{Op: OpSearch, Text: "x", After: &Mark{ID: 50}}, &Hits{Hits: []Hit{{file, "docs/file-0000"}}}},
		"search: another name":       {Request{Op: OpSearch, Text: "x"}, &Hits{Hits: []Hit{{file, "docs/x"}}}},
		"search: for ever":           {Request{Op: OpSearch, Text: "x"}, &Hits{More: true}},
		"totals: another folder":     {Request{Op: OpTotals, Path: "docs"}, &Totals{Folder: root}},
		"totals: more than there is": {Request{Op: OpTotals, Path: "docs"}, &Totals{Folder: docs, Entries: 99}},
		"totals: more folders":       {Request{Op: OpTotals, Path: "docs"}, &Totals{Folder: docs, Entries: 1, Folders: 2}},
		"totals: negative":           {Request{Op: OpTotals, Path: "docs"}, &Totals{Folder: docs, Bytes: -1}},
		"another kind":               {Request{Op: OpList, Path: "docs"}, &Totals{Folder: docs}},
	} {
		c.r.Location = loc
		if _, err := provide(t, c.r, sendMessage(message{State: p.st, outcome: given, body: encodeBody(c.b)})); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileStream(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3)
	r := Request{Location: p.st.Head.Location, Op: OpList}
	for name, c := range map[string]struct {
		send func(c *wire.Conn) error
		want error
	}{
		"nothing":         {nil, io.ErrUnexpectedEOF},
		"another message": {func(c *wire.Conn) error { c.Begin(9, 1).Int(1); return c.Send(wire.CodecNone) }, wire.ErrMalformed},
		"refusal":         {func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: 299}) }, wire.ErrRefused},
	} {
		if _, err := provide(t, r, c.send); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := provide(t, r, func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: 100}) }); err == nil {
		t.Error("ok is taken for an answer")
	}
}

// TestTamperedBytes flips bits anywhere in an honest answer: it is refused, or its head is the one signed, and nothing in it
// breaks a limit.
func TestTamperedBytes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 10)
	r := Request{Location: p.st.Head.Location, Op: OpList, Path: "docs"}
	_, l, err := p.List(t.Context(), &r)
	if err != nil {
		t.Fatal(err)
	}
	m := message{State: p.st, outcome: given, body: encodeBody(l)}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		got, err := provide(t, r, func(c *wire.Conn) error {
			m.encode(c)
			b := c.Begun()
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			return c.Send(wire.CodecNone)
		})
		if err == nil && got.Head != p.st.Head {
			t.Fatalf("took a head that was not signed: %+v", got.Head)
		}
	}
}

// TestHostileAsker sends requests that no honest asker sends: the source never hears of them.
func TestHostileAsker(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	srv := newServer(t, ServerConfig{Source: p})
	good := Request{Location: p.st.Head.Location, Op: OpList}
	for name, send := range map[string]func(c *wire.Conn) error{
		"another message": func(c *wire.Conn) error { c.Begin(9, 1).Int(1); return c.Send(wire.CodecNone) },
		"too large": func(c *wire.Conn) error {
			c.Begin(kindRequest, 1).Bytes(make([]byte, requestLimit))
			return c.Send(wire.CodecNone)
		},
		"packed": func(c *wire.Conn) error {
			r := good
			r.Path = strings.Repeat("x", 9000)
			r.encode(c)
			return c.Send(wire.CodecZstd)
		},
		"no text": func(c *wire.Conn) error { r := good; r.Op = OpSearch; r.encode(c); return c.Send(wire.CodecNone) },
		"id and path": func(c *wire.Conn) error {
			r := good
			r.Entry, r.Path = 1, "x"
			r.encode(c)
			return c.Send(wire.CodecNone)
		},
		"place of none": func(c *wire.Conn) error {
			r := good
			r.After = &Mark{Number: 1}
			r.encode(c)
			return c.Send(wire.CodecNone)
		},
	} {
		a, b := wiretest.Pipe(wire.MaxPayload)
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.Serve(a, "asker")
		}()
		c := wire.NewConn(b, wire.Config{})
		if err := send(c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(wire.IdleTimeout, kindAnswer, answerFields); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("%s: %v", name, err)
		}
		<-done
	}
	if n := p.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// payload returns the message that encode begins.
func payload(encode func(c *wire.Conn)) []byte {
	_, b := wiretest.Pipe(1)
	c := wire.NewConn(b, wire.Config{})
	encode(c)
	return bytes.Clone(c.Begun())
}

// fields returns a decoder that stands behind the kind of a message.
func fields(t testing.TB, p []byte, kind, n int) *wire.Decoder {
	t.Helper()
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(n + 1)
	d.Int(int64(kind), int64(kind))
	return d
}

// samples are one request of each kind with every field in use that it can have, and the answers to them.
func samples(t testing.TB) (*place, []Request, []body) {
	t.Helper()
	p := newPlace(t, 3)
	rs := []Request{
		{Op: OpList, Path: "docs", After: &Mark{ID: 4, Text: "file-0000"}, Limit: 500, Known: index.Hash{3}, Codecs: wire.AllCodecs},
		{Op: OpEntry, Entry: 3},
		{Op: OpSearch, Text: "file", Order: Order{BySize, true}, After: &Mark{ID: 4, Number: 3}},
		{Op: OpTotals, Path: "docs"},
	}
	var bodies []body
	srv := NewServer(ServerConfig{Source: p})
	for i := range rs {
		rs[i].Location = p.st.Head.Location
		_, b, err := srv.read(t.Context(), &rs[i])
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, b)
	}
	return p, rs, bodies
}

func TestGolden(t *testing.T) {
	t.Parallel()
	p, rs, bodies := samples(t)
	var vectors []wiretest.Vector
	kinds := []string{"list", "entry", "search", "totals"}
	for i := range rs {
		vectors = append(vectors,
			wiretest.Vector{Name: kinds[i] + "-request", Bytes: payload(rs[i].encode)},
			wiretest.Vector{Name: kinds[i] + "-body", Bytes: encodeBody(bodies[i])})
	}
	given := message{State: p.st, outcome: given, body: encodeBody(bodies[1])}
	absent := message{State: p.st, outcome: absent}
	vectors = append(vectors, wiretest.Vector{Name: "answer", Bytes: payload(given.encode)}, wiretest.Vector{Name: "absent", Bytes: payload(absent.encode)})
	got := wiretest.Golden(t, "testdata/query.txt", *update, vectors)
	for i := range rs {
		r, err := decodeRequest(fields(t, got[kinds[i]+"-request"], kindRequest, requestFields))
		if d := cmp.Diff(&rs[i], r); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", kinds[i], err, d)
		}
		a, err := rs[i].Read(p.st, true, got[kinds[i]+"-body"])
		if err != nil {
			t.Errorf("%s: %v", kinds[i], err)
			continue
		}
		if d := cmp.Diff(bodies[i], []body{a.Listing, a.Entry, a.Hits, a.Totals}[i]); d != "" {
			t.Errorf("%s (-want +got):\n%s", kinds[i], d)
		}
	}
	m, err := decodeAnswer(fields(t, got["answer"], kindAnswer, answerFields))
	if d := cmp.Diff(given, m, cmp.AllowUnexported(message{})); d != "" || err != nil {
		t.Errorf("answer: %v\n%s", err, d)
	}
}

func FuzzRequest(f *testing.F) {
	_, rs, _ := samples(f)
	for i := range rs {
		f.Add(payload(rs[i].encode))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := decodeRequest(fields(t, p, kindRequest, requestFields))
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		again, err := decodeRequest(fields(t, payload(r.encode), kindRequest, requestFields))
		if d := cmp.Diff(r, again); d != "" || err != nil {
			t.Fatalf("not the same after a round trip: %v\n%s", err, d)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	p, _, bodies := samples(f)
	for _, b := range bodies {
		m := message{State: p.st, outcome: given, body: encodeBody(b)}
		f.Add(payload(m.encode))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeAnswer(fields(t, b, kindAnswer, answerFields))
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		again, err := decodeAnswer(fields(t, payload(m.encode), kindAnswer, answerFields))
		if d := cmp.Diff(m, again, cmp.AllowUnexported(message{})); d != "" || err != nil {
			t.Fatalf("not the same after a round trip: %v\n%s", err, d)
		}
	})
}

// FuzzBody reads a body as the answer to each question.
func FuzzBody(f *testing.F) {
	p, rs, bodies := samples(f)
	for i, b := range bodies {
		f.Add(i, encodeBody(b))
	}
	f.Fuzz(func(t *testing.T, kind int, b []byte) {
		r := &rs[(kind%len(rs)+len(rs))%len(rs)]
		a, err := r.Read(p.st, true, b)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		var parsed body
		switch r.Op {
		case OpList:
			parsed = a.Listing
		case OpEntry:
			parsed = a.Entry
		case OpSearch:
			parsed = a.Hits
		case OpTotals:
			parsed = a.Totals
		}
		again, err := r.Read(p.st, true, encodeBody(parsed))
		if err != nil {
			t.Fatalf("read again: %v", err)
		}
		a.Body, again.Body = nil, nil
		if d := cmp.Diff(a, again); d != "" {
			t.Fatalf("not the same after a round trip:\n%s", d)
		}
	})
}
