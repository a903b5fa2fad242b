package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/peerdex/peerdex/index"
)

// sized is a head of so many entries.
func sized(e index.Epoch, seq, count int64) index.SignedHead {
	h := head(e, seq)
	h.Count, h.NextID = count, count+1
	return h
}

// TestWhole checks how everything is fetched where there is nothing to build on.
func TestWhole(t *testing.T) {
	from := func(d index.DeviceID, count int64, l Link) []Heard {
		return []Heard{{Device: d, Head: sized(epoch1, 9, count), Held: true, Reachable: true, Link: l}}
	}
	other := sized(epoch2, 5, 20_000)
	below := from(owner, 20_000, LinkNear)
	below[0].Horizon = 6
	for name, c := range map[string]struct {
		s    Situation
		want Strategy
	}{
		"one below the threshold":        {Situation{Heard: from(owner, 9_999, LinkNear)}, BatchFull},
		"at the threshold, owner, near":  {Situation{Heard: from(owner, 10_000, LinkNear)}, Native},
		"at the threshold, owner, far":   {Situation{Heard: from(owner, 10_000, LinkUnknown)}, Compact},
		"at the threshold, relay, near":  {Situation{Heard: from(relay, 10_000, LinkNear)}, Compact},
		"a threshold of one's own":       {Situation{Heard: from(owner, 50, LinkUnknown), Rules: Rules{SnapshotFrom: 50}}, Compact},
		"below it":                       {Situation{Heard: from(owner, 49, LinkUnknown), Rules: Rules{SnapshotFrom: 50}}, BatchFull},
		"failed twice":                   {Situation{Heard: from(owner, 10_000, LinkNear), NoSnapshot: []index.DeviceID{owner}}, BatchFull},
		"another failed twice":           {Situation{Heard: from(owner, 10_000, LinkNear), NoSnapshot: []index.DeviceID{relay}}, Native},
		"always batches":                 {Situation{Heard: from(owner, 1_000_000, LinkNear), Rules: Rules{Always: BatchFull}}, BatchFull},
		"always compact":                 {Situation{Heard: from(owner, 1, LinkNear), Rules: Rules{Always: Compact}}, Compact},
		"always native, though it fails": {Situation{Heard: from(relay, 1, LinkUnknown), Rules: Rules{Always: Native}, NoSnapshot: []index.DeviceID{relay}}, Native},
		"damaged":                        {Situation{Damaged: true, Heard: from(owner, 10_000, LinkNear)}, Native},
		"new epoch":                      {Situation{Held: ptr(sized(epoch1, 50, 3)), Heard: []Heard{{Device: owner, Head: other, Held: true, Reachable: true}}}, Reconcile},
		"new epoch, too different":       {Situation{Apart: true, Held: ptr(sized(epoch1, 50, 3)), Heard: []Heard{{Device: owner, Head: other, Held: true, Reachable: true}}}, Compact},
		"below the horizon":              {Situation{Held: ptr(head(epoch1, 5)), Heard: below}, Reconcile},
		"a delta, however large":         {Situation{Held: ptr(head(epoch1, 5)), Heard: from(owner, 1_000_000, LinkNear)}, Change},
		"a delta, whatever the rules":    {Situation{Held: ptr(head(epoch1, 5)), Heard: from(owner, 9, LinkNear), Rules: Rules{Always: Native}}, Change},
	} {
		c.s.Location = loc
		if p := Decide(&c.s); p.Strategy != c.want || p.Why == "" {
			t.Errorf("%s: %+v, want %s", name, p, c.want)
		}
	}
}

// TestBatchesAfterTwoSnapshots has a provider fail at snapshots: the third try is by batches, and other failures don't
// count.
func TestBatchesAfterTwoSnapshots(t *testing.T) {
	cut := errors.New("cut")
	for name, c := range map[string]struct {
		outcomes []error
		want     []Strategy
	}{
		"its fault":    {[]error{ErrNoSnapshot, ErrNoSnapshot, nil}, []Strategy{Native, Native, BatchFull}},
		"nobody's":     {[]error{cut, cut, cut, nil}, []Strategy{Native, Native, Native, Native}},
		"now and then": {[]error{cut, ErrNoSnapshot, cut, ErrNoSnapshot, nil}, []Strategy{Native, Native, Native, Native, BatchFull}},
		"batches too":  {[]error{ErrNoSnapshot, ErrNoSnapshot, cut, nil}, []Strategy{Native, Native, BatchFull, BatchFull}},
		"not any more": {[]error{ErrNoSnapshot, nil, ErrNoSnapshot, nil}, []Strategy{Native, Native, Native, Native}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []Strategy
			ctx, cancel := context.WithCancel(t.Context())
			s := New(Config{
				Situations: func(context.Context) ([]Situation, error) {
					h := Heard{Device: owner, Head: sized(epoch1, 5, 20_000), Held: true, Reachable: true, Link: LinkNear}
					return []Situation{{Location: loc, Heard: []Heard{h}}}, nil
				},
				Do: func(_ context.Context, _ Situation, p Plan) error {
					err := c.outcomes[len(got)]
					if got = append(got, p.Strategy); len(got) == len(c.outcomes) {
						cancel()
					}
					if err != nil {
						return fmt.Errorf("fetch: %w", err)
					}
					return nil
				},
			})
			if err := s.Run(ctx); !errors.Is(err, context.Canceled) || !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
			}
		})
	}
}
