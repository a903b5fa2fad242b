package proof

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
	"lukechampine.com/blake3"
)

var update = flag.Bool("update", false, "write testdata/vectors.txt anew")

func row(id int64) index.Entry {
	e := index.Entry{ID: id, Parent: 1, Name: fmt.Sprintf("name-%d", id), Kind: index.KindFile, Size: id * 7, MTime: id * 1e9, Mode: 0o644, Seq: id}
	if id == index.RootID {
		e = index.Entry{ID: 1, Kind: index.KindDir, Seq: 1}
	}
	return e
}

func build(t interface{ Fatal(...any) }, ids []int64) (index.Hash, map[string]index.Hash) {
	nodes := map[string]index.Hash{}
	b := NewBuilder(func(level int, idx int64, h index.Hash) error {
		nodes[fmt.Sprintf("%d/%d", level, idx)] = h
		return nil
	})
	for _, id := range ids {
		e := row(id)
		if err := b.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	root, err := b.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root, nodes
}

// TestVectors pins the hashes, so that another implementation can be compared with them.
func TestVectors(t *testing.T) {
	var out strings.Builder
	for _, ids := range [][]int64{
		nil, {1}, {1, 2}, {1, 63}, {1, 64}, {1, 63, 64, 127, 128}, {1, 4095, 4096}, {1, 1 << 18, 1 << 30}, {1, index.MaxID},
	} {
		root, nodes := build(t, ids)
		fmt.Fprintf(&out, "tree %v nodes %d root %s\n", ids, len(nodes), root)
	}
	d := index.Hash{}
	for _, r := range []index.DeadRun{{Seq: 3, Lo: 2, Hi: 2}, {Seq: 4, Lo: 5, Hi: 9}} {
		d = FoldDead(d, r)
		fmt.Fprintf(&out, "dead %d %d %d chain %s\n", r.Seq, r.Lo, r.Hi, d)
	}
	short, e := NewShortener(Salt{1, 2, 3}), row(70)
	fmt.Fprintf(&out, "short salt %x row %x %x node %s %x\n", Salt{1, 2, 3}, e.AppendRow(nil), short.Row(&e), index.Hash{9}, short.Node(index.Hash{9}))
	const path = "testdata/vectors.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != out.String() {
		t.Fatalf("vectors changed (%v):\n%s", err, out.String())
	}
}

// TestByHand hashes a small tree with the words of the specification, without this package's code.
func TestByHand(t *testing.T) {
	u64 := func(v uint64) string { return hexBytes(fmt.Sprintf("%016x", v)) }
	leaf := func(idx uint64, rows ...index.Entry) string {
		s := "peerdex/leaf/1\x00" + u64(idx)
		for i := range rows {
			s += string(rows[i].AppendRow(nil))
		}
		h := blake3.Sum256([]byte(s))
		return string(h[:])
	}
	node := func(level byte, idx, mask uint64, children ...string) string {
		h := blake3.Sum256([]byte("peerdex/node/1\x00" + string(level) + u64(idx) + u64(mask) + strings.Join(children, "")))
		return string(h[:])
	}
	// Ids 1 and 2 lie in leaf 0, id 70 in leaf 1: both below node 0 of every level.
	want := node(1, 0, 0b11, leaf(0, row(1), row(2)), leaf(1, row(70)))
	for level := byte(2); level <= Levels; level++ {
		want = node(level, 0, 1, want)
	}
	if got, _ := build(t, []int64{1, 2, 70}); string(got[:]) != want {
		t.Fatalf("root %x, want %x", got, want)
	}
}

func hexBytes(s string) string {
	b, _ := hex.DecodeString(s)
	return string(b)
}

// TestEveryRowCounts checks that no row can be left out, added or changed without another root.
func TestEveryRowCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64Range(1, 300), rapid.Int64Range(1, index.MaxID)), 1, 50, rapid.ID[int64]).Draw(t, "ids")
		slices.Sort(set)
		root, _ := build(t, set)
		i := rapid.IntRange(0, len(set)-1).Draw(t, "which")
		if without, _ := build(t, slices.Delete(slices.Clone(set), i, i+1)); without == root {
			t.Fatalf("id %d makes no difference", set[i])
		}
		b := NewBuilder(nil)
		for k, id := range set {
			e := row(id)
			if k == i {
				e.Seq++
			}
			if err := b.Add(&e); err != nil {
				t.Fatal(err)
			}
		}
		if changed, err := b.Root(); err != nil || changed == root {
			t.Fatalf("the seq of id %d makes no difference: %v", set[i], err)
		}
	})
}

func TestOrderIsChecked(t *testing.T) {
	b := NewBuilder(nil)
	two, one := row(2), row(1)
	if err := b.Add(&two); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(&one); !errors.Is(err, index.ErrInvalid) {
		t.Fatalf("a lower id: %v", err)
	}
}

func BenchmarkBuild(b *testing.B) {
	rows := make([]index.Entry, 100_000)
	for i := range rows {
		rows[i] = row(int64(i + 1))
	}
	for b.Loop() {
		t := NewBuilder(nil)
		for i := range rows {
			if err := t.Add(&rows[i]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := t.Root(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(len(rows)), "ns/row")
}
