package proof

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
)

// tree is a set of rows with the nodes above them.
type tree struct {
	head  index.Head
	rows  map[int64]index.Entry
	nodes map[string]index.Hash
}

func newTree(rows map[int64]index.Entry, head index.Head) *tree {
	t := &tree{head: head, rows: rows, nodes: map[string]index.Hash{}}
	b := NewBuilder(func(level int, idx int64, h index.Hash) error {
		t.nodes[fmt.Sprint(level, idx)] = h
		return nil
	})
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		e := rows[id]
		_ = b.Add(&e)
	}
	t.head.Root, _ = b.Root()
	t.head.Count = int64(len(rows))
	return t
}

func (t *tree) sketch(salt Salt, level int, at int64) Sketch {
	s := Sketch{Index: at}
	short := NewShortener(salt)
	for k := range int64(Fan) {
		if e, ok := t.rows[at<<LeafBits|k]; ok && level == 0 {
			s.Add(int(k), short.Row(&e))
		}
		if h, ok := t.nodes[fmt.Sprint(level-1, at<<FanBits|k)]; ok && level > 0 {
			s.Add(int(k), short.Node(h))
		}
	}
	return s
}

// answer is what an honest provider says of the first n nodes.
func (t *tree) answer(salt Salt, level int, sent []Sketch, n int) Comparison {
	c := Comparison{Head: index.SignedHead{Head: t.head}}
	for i := range sent[:min(n, len(sent))] {
		own := t.sketch(salt, level, sent[i].Index)
		d := Diff(&own, &sent[i])
		c.Nodes = append(c.Nodes, d)
		for m := d.Differ; m != 0 && level == 0; m &= m - 1 {
			c.Rows = append(c.Rows, t.rows[sent[i].Index<<LeafBits|int64(bits.TrailingZeros64(m))])
		}
	}
	return c
}

var walked = index.Head{Location: index.Location{ID: index.LocationID{1}}, Epoch: index.Epoch{Counter: 1}, Seq: 1, NextID: 2}

func TestSaltCounts(t *testing.T) {
	a, b := NewShortener(Salt{1}), NewShortener(Salt{2})
	e := row(70)
	if a.Node(index.Hash{9}) == b.Node(index.Hash{9}) || a.Row(&e) == b.Row(&e) {
		t.Error("the salt makes no difference")
	}
}

func TestDiff(t *testing.T) {
	var own, sent Sketch
	for _, k := range []int{0, 5, 9, 63} {
		own.Add(k, Short{byte(k)})
	}
	sent.Add(0, Short{0})
	sent.Add(5, Short{1})
	sent.Add(7, Short{1})
	sent.Add(63, Short{63})
	if d := Diff(&own, &sent); d.Mask != own.Mask || d.Differ != 1<<5|1<<9 || !own.Complete() {
		t.Errorf("%+v", d)
	}
	own.Mask |= 2
	if own.Complete() {
		t.Error("complete with a child too many")
	}
}

// TestWalk compares random trees, far apart and close, sparse and dense, while the provider's changes between answers:
// what is found, with the changes since the lowest head on top, is what the last head has.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64Range(1, 500), rapid.Int64Range(1, 1<<20), rapid.Int64Range(1, index.MaxID)), 1, 60, rapid.ID[int64])
		mine := map[int64]index.Entry{}
		for _, id := range ids.Draw(t, "mine") {
			mine[id] = row(id)
		}
		theirs := map[int64]index.Entry{}
		for _, id := range append(ids.Draw(t, "theirs"), slices.Collect(maps.Keys(mine))...) {
			theirs[id] = row(id)
			switch rapid.IntRange(0, 9).Draw(t, "difference") {
			case 0:
				delete(theirs, id)
			case 1:
				e := row(id)
				e.MTime++
				theirs[id] = e
			}
		}
		theirs[1] = row(1)
		provider := newTree(theirs, walked)
		provider.head.Seq, provider.head.NextID = index.MaxSeq/2, max(2, slices.Max(slices.Collect(maps.Keys(theirs)))+1)
		held := walked
		held.NextID = slices.Max(append(slices.Collect(maps.Keys(mine)), 1)) + 1
		replica := newTree(mine, held)
		offer := provider.head
		if rapid.Bool().Draw(t, "an old offer") {
			offer.NextID = 2
		}
		w := NewWalk(&replica.head, &offer, nil)
		changed, died := map[int64]bool{}, map[int64]bool{} // since the first answer
		got := maps.Clone(mine)
		for n := 0; ; n++ {
			level, nodes := w.Next(rapid.IntRange(1, 100).Draw(t, "limit"))
			if len(nodes) == 0 {
				break
			}
			var sent []Sketch
			for _, at := range nodes {
				sent = append(sent, replica.sketch(Salt{}, level, at))
			}
			c := provider.answer(Salt{}, level, sent, rapid.IntRange(1, 100).Draw(t, "answered"))
			f, err := w.Take(sent, &c)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range f.Gone {
				maps.DeleteFunc(got, func(id int64, _ index.Entry) bool { return id >= g.Lo && id <= g.Hi })
			}
			for _, e := range f.Rows {
				got[e.ID] = e
			}
			if rapid.Bool().Draw(t, "moves on") {
				provider = moveOn(t, provider, changed, died)
			}
		}
		for id := range changed {
			got[id] = provider.rows[id]
		}
		maps.DeleteFunc(got, func(id int64, _ index.Entry) bool { return died[id] })
		if end := newTree(got, walked); end.head.Root != provider.head.Root {
			t.Fatalf("%v\n%v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(provider.rows)))
		}
		if tok := w.Token(); tok.Base.Seq != index.MaxSeq/2 || tok.Floor != w.Floor() || tok.Position != tok.Base.Seq || tok.Mode != index.ModeDelta {
			t.Fatalf("token %+v", tok)
		}
		if n, ok := w.Needed(); !ok && n != 0 {
			t.Fatalf("%d rows were needed in the end", n)
		}
	})
}

// moveOn changes, adds and deletes a row of a provider.
func moveOn(t *rapid.T, p *tree, changed, died map[int64]bool) *tree {
	rows, head := maps.Clone(p.rows), p.head
	all := slices.Sorted(maps.Keys(rows))
	e := rows[rapid.SampledFrom(all).Draw(t, "changes")]
	head.Seq++
	e.MTime, e.Seq = e.MTime+7, head.Seq
	rows[e.ID], changed[e.ID] = e, true
	if head.NextID <= index.MaxID {
		rows[head.NextID], changed[head.NextID] = row(head.NextID), true
		head.NextID++
	}
	if id := rapid.SampledFrom(all).Draw(t, "dies"); id != 1 {
		delete(rows, id)
		delete(changed, id)
		died[id] = true
	}
	return newTree(rows, head)
}

// TestWalkRefuses changes one thing in an honest answer.
func TestWalkRefuses(t *testing.T) {
	mine, theirs := map[int64]index.Entry{}, map[int64]index.Entry{}
	for id := int64(1); id < 300; id++ {
		mine[id], theirs[id] = row(id), row(id)
		if id%70 == 3 {
			delete(mine, id)
		}
		if id%70 == 5 {
			e := row(id)
			e.Size++
			theirs[id] = e
		}
	}
	head := walked
	head.Seq, head.NextID = 1000, 300
	replica, provider := newTree(mine, head), newTree(theirs, head)
	for name, c := range map[string]struct {
		level int // -1 = any
		f     func(c *Comparison)
	}{
		"another location":     {-1, func(c *Comparison) { c.Head.Location.ID[0]++ }},
		"nothing":              {-1, func(c *Comparison) { c.Nodes, c.Rows = nil, nil }},
		"too much":             {-1, func(c *Comparison) { c.Nodes = append(c.Nodes, make([]Difference, 100)...) }},
		"differs, not there":   {-1, func(c *Comparison) { c.Nodes[0].Mask = 0 }},
		"is new, no different": {0, func(c *Comparison) { c.Nodes[0].Differ, c.Rows = 0, nil }},
		"ids never given":      {-1, func(c *Comparison) { c.Head.NextID = 3 }},
		"a row is missing":     {0, func(c *Comparison) { c.Rows = c.Rows[1:] }},
		"a row too many":       {0, func(c *Comparison) { c.Rows = append(c.Rows, row(299)) }},
		"rows of inner nodes":  {1, func(c *Comparison) { c.Rows = append(c.Rows, row(299)) }},
		"rows out of order":    {0, func(c *Comparison) { slices.Reverse(c.Rows) }},
		"seq above the head's": {0, func(c *Comparison) { c.Rows[0].Seq = 2000 }},
	} {
		refused := false
		w := NewWalk(&replica.head, &provider.head, nil)
		for !refused {
			level, nodes := w.Next(100)
			if len(nodes) == 0 {
				t.Errorf("%s: the walk came to its end", name)
				break
			}
			var sent []Sketch
			for _, at := range nodes {
				sent = append(sent, replica.sketch(Salt{}, level, at))
			}
			good, bad := provider.answer(Salt{}, level, sent, 100), provider.answer(Salt{}, level, sent, 100)
			if c.level < 0 || c.level == level {
				before := fmt.Sprint(*w)
				c.f(&bad)
				_, err := w.Take(sent, &bad)
				if refused = errors.Is(err, index.ErrPageOrder); !refused || fmt.Sprint(*w) != before {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := w.Take(sent, &good); err != nil {
				t.Fatal(name, err)
			}
		}
	}
	w := NewWalk(&replica.head, &provider.head, nil)
	_, nodes := w.Next(1)
	other := provider.answer(Salt{}, 1, []Sketch{replica.sketch(Salt{}, 1, nodes[0])}, 1)
	other.Head.Epoch.Counter++
	if _, err := w.Take([]Sketch{{}}, &other); !errors.Is(err, index.ErrEpochChanged) {
		t.Errorf("another epoch: %v", err)
	}
}

// TestWalkTellsHowMuch compares a replica with one that has other rows throughout: a sample says so early.
func TestWalkTellsHowMuch(t *testing.T) {
	mine, theirs := map[int64]index.Entry{}, map[int64]index.Entry{}
	for id := int64(1); id < 30_000; id++ {
		mine[id] = row(id)
		e := row(id)
		if id%4 == 0 {
			e.Size++
		}
		theirs[id] = e
	}
	head := walked
	head.Seq, head.NextID = 100_000, 30_000
	replica, provider := newTree(mine, head), newTree(theirs, head)
	w := NewWalk(&replica.head, &provider.head, nil)
	var told []string
	for {
		level, nodes := w.Next(200)
		if len(nodes) == 0 {
			break
		}
		var sent []Sketch
		for _, at := range nodes {
			sent = append(sent, replica.sketch(Salt{}, level, at))
		}
		c := provider.answer(Salt{}, level, sent, 200)
		if !slices.IsSorted(nodes) {
			t.Errorf("level %d: nodes %v", level, nodes)
		}
		if _, err := w.Take(sent, &c); err != nil {
			t.Fatal(err)
		}
		rows, ok := w.Needed()
		told = append(told, fmt.Sprint(level, len(nodes), rows/1000, ok))
	}
	if got, want := strings.Join(told, "; "), "1 8 0 false; 0 64 7 true; 0 200 7 true; 0 200 7 true; 0 5 7 true"; got != want || w.TooMany() {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestWalkRemembersNoMoreThanItMay is told of ever more nodes that differ.
func TestWalkRemembersNoMoreThanItMay(t *testing.T) {
	head := walked
	head.Seq, head.NextID = 1000, 1<<36
	w := NewWalk(&walked, &head, nil)
	for nodes := 0; !w.TooMany(); {
		_, next := w.Next(1024)
		if nodes += len(next); nodes > 2*maxDiffer/Fan {
			t.Fatalf("%d nodes", nodes)
		}
		c := Comparison{Head: index.SignedHead{Head: head}}
		var sent []Sketch
		for _, at := range next {
			sent = append(sent, Sketch{Index: at})
			c.Nodes = append(c.Nodes, Difference{Mask: ^uint64(0), Differ: ^uint64(0)})
		}
		if _, err := w.Take(sent, &c); err != nil {
			t.Fatal(err)
		}
	}
}
