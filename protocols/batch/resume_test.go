package batch

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// chooser makes the choices of a run: rapid's, which can be shrunk, or a plain seed's.
type chooser interface {
	choose(label string, n int) int // from 0 to n-1
}

type rapidChooser struct{ t *rapid.T }

func (c rapidChooser) choose(label string, n int) int { return rapid.IntRange(0, n-1).Draw(c.t, label) }

type seedChooser struct{ r *rand.Rand }

func (c seedChooser) choose(_ string, n int) int { return c.r.IntN(n) }

// randomHistory is an owner that signed so many heads, with one to six changes between any two.
func randomHistory(tb failer, c chooser, heads int) *owner {
	o := newOwner(tb)
	for range heads {
		for range 1 + c.choose("changes", 6) {
			files := o.files()
			switch op := c.choose("operation", 10); {
			case op < 5 || len(files) < 5:
				o.insert(1)
			case op < 8:
				e := o.now.rows[files[c.choose("changed", len(files))]]
				e.Size++
				o.put(e)
			case op < 9:
				o.remove(files[c.choose("removed", len(files))], c.choose("bridge", 2) == 1)
			default:
				o.setRecord("docs")
			}
		}
		o.commit()
	}
	return o
}

// providers answer pages as devices do that lag behind an owner who goes on writing: each from a head up to eight
// back from the newest there is, and time moves on.
type providers struct {
	o    *owner
	c    chooser
	time int
}

func (p *providers) any() *state {
	p.time = min(len(p.o.history)-1, p.time+p.c.choose("time", 2))
	return &p.o.history[max(2, p.time-p.c.choose("lag", 9))]
}

const pageSize = 4

// TestResumeRule is the rule of index.Token by itself: every page from another provider, the token stored as bytes
// in between, pages lost after they were read. However it goes, what is received is what the owner signed.
func TestResumeRule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := rapidChooser{t}
		o := randomHistory(t, c, 24)
		p := &providers{o: o, c: c, time: 8}
		r, err := startReplica(o, c)
		if err != nil {
			t.Fatal(err)
		}
		for turns := 0; !r.done; turns++ {
			if turns > 10_000 {
				t.Fatal("no end")
			}
			tok, err := r.resume()
			if err != nil {
				t.Fatal(err)
			}
			page, err := p.any().page(PageRequest{
				Location: tok.Location, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: pageSize,
			})
			if errors.Is(err, index.ErrProviderBehind) || c.choose("lost", 8) == 0 {
				continue
			}
			next, done, err := tok.Advance(&page, proof.FoldDead)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Put(context.Background(), &page, next, done, Progress{}); err != nil {
				t.Fatal(err)
			}
			if done && next.Dead != page.Head.Dead {
				t.Fatal("the chain of deletions is not the head's")
			}
		}
		if diff := r.diff(o); diff != "" {
			t.Fatal(diff)
		}
	})
}

// startReplica is one that has nothing, or an early head.
func startReplica(o *owner, c chooser) (*replica, error) {
	if c.choose("full", 2) == 0 {
		return replicaOf(&o.history[2])
	}
	h := o.history[0].head
	return newReplica(h.Location, h.Epoch)
}

// TestNaiveRuleFails runs the same model with the rule that suggests itself: the delta begins at the first page's
// head, and ends with the first page that is exhausted. The model must catch it, or it proves nothing.
func TestNaiveRuleFails(t *testing.T) {
	t.Parallel()
	failed := map[bool]int{}
	const runs = 60
	for seed := range uint64(runs) {
		for _, full := range []bool{true, false} {
			c := seedChooser{rand.New(rand.NewPCG(seed, 7))}
			o := randomHistory(t, c, 24)
			if !naive(o, &providers{o: o, c: c, time: 8}, full) {
				failed[full]++
			}
		}
	}
	if failed[true] == 0 || failed[false] == 0 {
		t.Errorf("of %d runs each, the naive rule failed %d full ones and %d deltas", runs, failed[true], failed[false])
	}
}

// naive reports whether the naive rule ended with what the last page's provider holds.
func naive(o *owner, p *providers, full bool) bool {
	r, position := &replica{rows: map[int64]index.Entry{}}, int64(0)
	base := o.history[2].head.Seq
	if full {
		base = 0
	} else {
		r, _ = replicaOf(&o.history[2])
	}
	for mode := index.ModeFull; ; {
		if base > 0 && (!full || position < 0) {
			mode, position = index.ModeDelta, base
			full = false
		}
		s := p.any()
		page, err := s.page(PageRequest{
			Location: s.head.Location, Epoch: s.head.Epoch, Mode: mode, Position: position, Limit: pageSize,
		})
		if err != nil {
			continue
		}
		_ = r.Put(context.Background(), &page, index.NewDelta(s.head.Head), true, Progress{})
		switch {
		case mode == index.ModeFull && base == 0:
			base = page.Head.Seq
			fallthrough
		case mode == index.ModeFull:
			if position = page.UpTo; page.Exhausted {
				position = -1
			}
		case page.Exhausted:
			return r.diff(o) == ""
		default:
			base = page.UpTo
		}
	}
}

// TestResumeRuleOnTheWire runs the rule through Pull and Server: one provider a stream, whose replica moves on
// between pages, streams that break after any number of bytes, and a sink that breaks too.
func TestResumeRuleOnTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := rapidChooser{t}
		o := randomHistory(t, c, 12)
		p := &providers{o: o, c: c, time: 6}
		r, err := startReplica(o, c)
		if err != nil {
			t.Fatal(err)
		}
		for turns := 0; !r.done; turns++ {
			if turns > 1000 {
				t.Fatal("no end")
			}
			tok, err := r.resume()
			if err != nil {
				t.Fatal(err)
			}
			r.refuse = func(int) error {
				if c.choose("sink fails", 20) == 0 {
					return errSink
				}
				return nil
			}
			newest := p.any().head.Seq
			at := slices.IndexFunc(o.history, func(s state) bool { return s.head.Seq == newest })
			cut := -1
			if c.choose("cut", 2) == 0 {
				cut = c.choose("after", 6000)
			}
			opts := Options{BatchSize: pageSize, Library: testLibrary}
			last, err := pullOnce(t, movingSource(o, at, uint64(c.choose("seed", 1<<16))), tok, r, opts, cut)
			if stored, err := r.resume(); err != nil || stored != last {
				t.Fatalf("Pull returned another token than the sink has: %v", err)
			}
			if err == nil && !r.done {
				t.Fatal("no error, and not done")
			}
			if err != nil && !errors.Is(err, index.ErrProviderBehind) && !errors.Is(err, errSink) && !errors.Is(err, wiretest.ErrReset) {
				t.Fatalf("pull: %v", err)
			}
		}
		if diff := r.diff(o); diff != "" {
			t.Fatal(diff)
		}
	})
}

var errSink = errors.New("the disk is full")

// movingSource is a provider that reaches a newer head now and then, between two pages. It chooses by itself, since
// it runs beside the puller.
func movingSource(o *owner, at int, seed uint64) Source {
	c := seedChooser{rand.New(rand.NewPCG(seed, 1))}
	return sourceFunc(func(r PageRequest) (index.Page, error) {
		at = min(len(o.history)-1, at+c.choose("moves on", 2))
		return o.history[at].page(r)
	})
}
