package tree

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// provide answers every request of one comparison with what change makes of an honest answer, and returns what became
// of it.
func provide(t *testing.T, s *state, r *replica, change func(level int, a *answer), send func(c *wire.Conn, a *answer) error) error {
	t.Helper()
	a, b := wiretest.Pipe(wire.MaxPayload)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := wire.NewConn(a, wire.Config{})
		for first := true; ; first = false {
			d, err := c.Receive(wire.IdleTimeout, kindRequest, requestFields)
			if err != nil {
				break
			}
			req, err := decodeRequest(d)
			if err != nil {
				t.Error(err)
				break
			}
			out, err := s.compare(CompareRequest{Location: req.loc, Epoch: req.epoch, Salt: req.salt, Level: req.level, Nodes: req.nodes, MaxRows: wire.MaxRows})
			if err != nil {
				t.Error(err)
				break
			}
			ans := &answer{Comparison: out}
			if first {
				ans.head, ans.record = &s.head, s.record
			}
			change(req.level, ans)
			if send(c, ans) != nil {
				break
			}
		}
		_ = a.Close()
	}()
	err := Reconcile(context.Background(), b, proof.NewWalk(&r.at.head.Head, &s.head.Head, nil), r, Options{Library: testLibrary})
	<-done
	return err
}

func sendAnswer(c *wire.Conn, a *answer) error {
	a.encode(c)
	return c.Send(wire.CodecZstd)
}

// TestHostileProvider changes one thing in the first answer, or in the first about leaves. Nothing of it is taken.
func TestHostileProvider(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 700)
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	resign := func(h index.Head, key ed25519.PrivateKey) *index.SignedHead {
		h.Location.Owner = index.DeviceID(key.Public().(ed25519.PublicKey))
		s, err := index.SignHead(h, key)
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	head := func(fn func(h *index.SignedHead)) func(a *answer) {
		return func(a *answer) {
			h := now.head
			fn(&h)
			a.head, a.record = &h, now.record
		}
	}
	for name, breakIt := range map[string]func(a *answer){
		"no head":          func(a *answer) { a.head, a.record, a.Head = nil, nil, index.SignedHead{} },
		"no record":        func(a *answer) { a.head, a.record = &now.head, nil },
		"record, no head":  func(a *answer) { a.head, a.record = nil, now.record },
		"another record":   func(a *answer) { a.head, a.record = &now.head, append(bytes.Clone(now.record), 0) },
		"bad signature":    head(func(h *index.SignedHead) { h.Signature[3] ^= 1 }),
		"signed by others": head(func(h *index.SignedHead) { *h = *resign(h.Head, stranger) }),
		"other library":    head(func(h *index.SignedHead) { h.Library[0]++; *h = *resign(h.Head, key()) }),
		"other location":   head(func(h *index.SignedHead) { h.Location.ID[0]++; *h = *resign(h.Head, key()) }),
		"other epoch":      head(func(h *index.SignedHead) { h.Epoch.Random++; *h = *resign(h.Head, key()) }),
		"nothing":          func(a *answer) { a.Nodes, a.Rows = nil, nil },
		"too many nodes":   func(a *answer) { a.Nodes = append(a.Nodes, make([]proof.Difference, MaxNodes)...) },
		"differs, not had": func(a *answer) { a.Nodes[0].Mask = 0; a.Nodes[0].Differ = 1 },
		"never given":      func(a *answer) { a.Nodes[len(a.Nodes)-1] = proof.Difference{Mask: 1 << 63, Differ: 1 << 63} },
		"rows from no leaf": func(a *answer) {
			a.Rows = append(a.Rows, file(699))
		},
		"a bad name": func(a *answer) {
			a.Rows = append([]index.Entry{{ID: 5, Parent: 1, Name: "../x", Kind: 1, Seq: 3}}, a.Rows...)
		},
	} {
		for _, level := range []int{1, 0} {
			r := replicaOf(old)
			at := 0
			err := provide(t, now, r, func(l int, a *answer) {
				if l == level {
					if breakIt(a); at == 0 {
						at = r.found
					}
				}
			}, sendAnswer)
			if (name == "no head" || name == "no record") && level == 0 && err == nil {
				continue // both were sent before
			}
			if err == nil || r.found > at {
				t.Errorf("%s, level %d: %v, %d answers taken", name, level, err, r.found)
			}
		}
	}
}

// TestEndlessProvider claims at every level that all of it differs, below a head that says how much there is.
func TestEndlessProvider(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 700)
	h := now.head.Head
	h.NextID, h.Count = 1<<30, 1_000_000
	now.head, _ = index.SignHead(h, key())
	r := replicaOf(old)
	err := provide(t, now, r, func(level int, a *answer) {
		for i := range a.Nodes {
			a.Nodes[i] = proof.Difference{Mask: ^uint64(0), Differ: ^uint64(0)}
		}
	}, sendAnswer)
	if err == nil || r.last.Bytes > 4<<20 {
		t.Errorf("%v after %d bytes", err, r.last.Bytes)
	}
}

// TestTamperedBytes flips bits anywhere in honest answers. The comparison ends in an error, or in rows that the root of
// the head does not cover; it never panics, and never takes a head that the owner didn't sign.
func TestTamperedBytes(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 200)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		r := replicaOf(old)
		err := provide(t, now, r, func(int, *answer) {}, func(c *wire.Conn, a *answer) error {
			a.encode(c)
			p := c.Begun()
			p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
			return c.Send(wire.CodecNone)
		})
		if r.found > 0 && r.tok.Base != now.head.Head {
			t.Fatalf("took a head that was not signed: %+v", r.tok.Base)
		}
		if err == nil && sameRows(r.rows, now.rows) {
			t.Log("a flipped bit changed nothing")
		}
	}
}

// messages are a request and an answer with every field in use.
func messages(t testing.TB) (request, answer) {
	t.Helper()
	old, now := pair(t, 70)
	r := request{
		loc: now.head.Location, epoch: now.head.Epoch, salt: proof.Salt{1, 2}, level: 0, codecs: wire.AllCodecs,
		nodes: []proof.Sketch{old.sketch(proof.Salt{1, 2}, 0, 0), {Index: 2, Shorts: []byte{}}},
	}
	c, err := now.compare(CompareRequest{Location: r.loc, Epoch: r.epoch, Salt: r.salt, Nodes: r.nodes, MaxRows: 100})
	if err != nil {
		t.Fatal(err)
	}
	return r, answer{Comparison: c, head: &now.head, record: now.record}
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

func TestGolden(t *testing.T) {
	t.Parallel()
	r, a := messages(t)
	inner := r
	inner.level, inner.nodes = 1, []proof.Sketch{{Index: 3, Mask: 1 | 1<<63, Shorts: []byte("short1short2")}}
	got := wiretest.Golden(t, "testdata/tree.txt", *update, []wiretest.Vector{
		{Name: "request-leaves", Bytes: payload(r.encode)},
		{Name: "request-nodes", Bytes: payload(inner.encode)},
		{Name: "answer-leaves", Bytes: payload(a.encode)},
		{Name: "answer-nodes", Bytes: payload((&answer{Comparison: proof.Comparison{Nodes: []proof.Difference{{Mask: 1<<63 | 2, Differ: 1 << 63}}}}).encode)},
	})
	gotR, err := decodeRequest(fields(t, got["request-leaves"], kindRequest, requestFields))
	if diff := cmp.Diff(r, gotR, cmp.AllowUnexported(request{})); err != nil || diff != "" {
		t.Errorf("request: %v %s", err, diff)
	}
	var gotA answer
	if err := gotA.decode(fields(t, got["answer-leaves"], kindAnswer, answerFields), 2); err != nil {
		t.Fatal(err)
	}
	gotA.Head, gotA.Record = *gotA.head, gotA.record
	if diff := cmp.Diff(a, gotA, cmp.AllowUnexported(answer{})); diff != "" {
		t.Error(diff)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	good, _ := messages(t)
	for name, change := range map[string]func(r *request){
		"no nodes":         func(r *request) { r.nodes = nil },
		"too many":         func(r *request) { r.nodes = make([]proof.Sketch, MaxNodes+1) },
		"twice":            func(r *request) { r.nodes[1].Index = 0 },
		"beyond the tree":  func(r *request) { r.nodes[1].Index = 1 << 30 },
		"beyond the level": func(r *request) { r.level, r.nodes[1].Index = 1, 1<<24 },
		"no such level":    func(r *request) { r.level = 6 },
		"a hash missing":   func(r *request) { r.nodes[0].Shorts = r.nodes[0].Shorts[6:] },
		"a hash too many":  func(r *request) { r.nodes[1].Shorts = []byte("abcdef") },
		"epoch 0":          func(r *request) { r.epoch.Counter = 0 },
	} {
		r := good
		r.nodes = append([]proof.Sketch(nil), good.nodes...)
		change(&r)
		if _, err := decodeRequest(fields(t, payload(r.encode), kindRequest, requestFields)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLargestMessages holds the limits: the largest request and the largest answer of this side fit their frames.
func TestLargestMessages(t *testing.T) {
	t.Parallel()
	r, _ := messages(t)
	r.nodes = nil
	for i := range int64(MaxNodes) {
		r.nodes = append(r.nodes, proof.Sketch{Index: 1<<30 - MaxNodes + i, Mask: ^uint64(0), Shorts: make([]byte, proof.Fan*proof.ShortSize)})
	}
	if n := len(payload(r.encode)) + 1; n > requestLimit {
		t.Errorf("request of %d bytes", n)
	}
	a := answer{record: make([]byte, index.MaxRecordLen), head: new(index.SignedHead)}
	for range nodesAtOnce {
		a.Nodes = append(a.Nodes, proof.Difference{Mask: ^uint64(0), Differ: ^uint64(0)})
	}
	for i := range rowsAtOnce + proof.LeafSize - 1 {
		a.Rows = append(a.Rows, index.Entry{
			ID: index.MaxID - int64(i), Parent: index.MaxID, Name: fmt.Sprintf("%0255d", i), Kind: index.KindFile, Size: 1 << 62, MTime: -1 << 62, Mode: 0o7777,
			Hash: make([]byte, index.MaxHashLen), Attrs: make([]byte, index.MaxAttrsLen), Seq: index.MaxSeq,
		})
	}
	if n := len(payload(a.encode)) + 1; n > wire.MaxFrame {
		t.Errorf("answer of %d bytes", n)
	}
}

func FuzzRequest(f *testing.F) {
	r, _ := messages(f)
	f.Add(payload(r.encode))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := decodeRequest(fields(t, p, kindRequest, requestFields))
		switch {
		case err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion):
			t.Fatalf("error of no kind: %v", err)
		case err == nil:
			again, err := decodeRequest(fields(t, payload(r.encode), kindRequest, requestFields))
			if diff := cmp.Diff(r, again, cmp.AllowUnexported(request{})); err != nil || diff != "" {
				t.Fatalf("not the same after a round trip: %v %s", err, diff)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	_, a := messages(f)
	f.Add(payload(a.encode))
	f.Fuzz(func(t *testing.T, p []byte) {
		var a, again answer
		if err := a.decode(fields(t, p, kindAnswer, answerFields), MaxNodes); err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if len(a.Rows) > wire.MaxRows || len(a.Nodes) > MaxNodes {
			t.Fatal("beyond the limits")
		}
		if err := again.decode(fields(t, payload(a.encode), kindAnswer, answerFields), MaxNodes); err != nil {
			t.Fatalf("not the same after a round trip: %v", err)
		}
		if diff := cmp.Diff(a, again, cmp.AllowUnexported(answer{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
