package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/peerdex/peerdex/index"
)

var third, fourth = index.DeviceID{3}, index.DeviceID{4}

// TestDecideQuarantine is about what can't be used: our own file, and heads that nobody can prove.
func TestDecideQuarantine(t *testing.T) {
	from := func(d index.DeviceID, h index.SignedHead) Heard {
		return Heard{Device: d, Head: h, Held: true, Reachable: true}
	}
	away := func(d index.DeviceID, h index.SignedHead) Heard { return Heard{Device: d, Head: h, Held: true} }
	told := func(d index.DeviceID, h index.SignedHead) Heard { return Heard{Device: d, Head: h, Reachable: true} }
	not := func(h index.SignedHead, ds ...index.DeviceID) (out []Unproved) {
		for _, d := range ds {
			out = append(out, Unproved{Device: d, Head: h})
		}
		return out
	}
	h5, h6, h7, later := head(epoch1, 5), head(epoch1, 6), head(epoch1, 7), head(epoch1, 6)
	later.AsOf = 9
	for name, c := range map[string]struct {
		s           Situation
		want        Strategy
		provider    index.DeviceID
		quarantined bool
	}{
		"damaged, the owner serves":              {Situation{Damaged: true, Heard: []Heard{from(owner, h6)}}, BatchFull, owner, false},
		"damaged, a relay has an older state":    {Situation{Damaged: true, Heard: []Heard{away(owner, h6), from(relay, h5)}}, BatchFull, relay, false},
		"damaged, nobody is there":               {Situation{Damaged: true, Heard: []Heard{away(owner, h6)}}, Nothing, index.DeviceID{}, false},
		"damaged and frozen":                     {Situation{Damaged: true, Frozen: true, Heard: []Heard{from(owner, h6)}}, Nothing, index.DeviceID{}, false},
		"damaged and retired":                    {Situation{Damaged: true, Retired: index.Retired, Heard: []Heard{told(owner, h6)}}, Drop, index.DeviceID{}, false},
		"damaged and archived":                   {Situation{Damaged: true, Retired: index.Archived, Heard: []Heard{from(owner, h6)}}, BatchFull, owner, false},
		"the next provider":                      {Situation{Unproved: not(h6, owner), Heard: []Heard{from(owner, h6), from(relay, h6)}}, BatchFull, relay, false},
		"the next provider, though it is lower":  {Situation{Unproved: not(h6, relay), Heard: []Heard{from(relay, h6), from(owner, h5)}}, BatchFull, owner, false},
		"then the owner":                         {Situation{Unproved: not(h6, relay, third), Heard: []Heard{from(relay, h6), from(owner, h6), from(third, h6)}}, BatchFull, owner, false},
		"not avoided but refused":                {Situation{Unproved: not(h6, relay), Avoid: []index.DeviceID{owner}, Heard: []Heard{from(relay, h6), from(owner, h6)}}, BatchFull, owner, false},
		"the same state, known true later":       {Situation{Unproved: not(h6, owner), Heard: []Heard{from(owner, later)}}, Nothing, index.DeviceID{}, true},
		"a lower head of the same provider":      {Situation{Unproved: not(h6, owner), Heard: []Heard{from(owner, h5)}}, Nothing, index.DeviceID{}, true},
		"a higher head of the same provider":     {Situation{Unproved: not(h6, owner), Heard: []Heard{from(owner, h7)}}, BatchFull, owner, false},
		"a higher head above a replica":          {Situation{Held: &h5, Unproved: not(h6, owner), Heard: []Heard{from(owner, h7)}}, Change, owner, false},
		"another epoch":                          {Situation{Unproved: not(h6, owner), Heard: []Heard{from(owner, head(epoch2, 5))}}, BatchFull, owner, false},
		"the only one":                           {Situation{Held: &h5, Unproved: not(h6, owner), Heard: []Heard{from(owner, h6)}}, Nothing, index.DeviceID{}, true},
		"the only one that is there":             {Situation{Held: &h5, Unproved: not(h6, relay), Heard: []Heard{from(relay, h6), away(owner, h6)}}, Nothing, index.DeviceID{}, false},
		"who holds nothing doesn't count":        {Situation{Held: &h5, Unproved: not(h6, relay), Heard: []Heard{from(relay, h6), told(owner, h6)}}, Nothing, index.DeviceID{}, true},
		"held already":                           {Situation{Held: &h6, Unproved: not(h6, relay), Heard: []Heard{from(relay, h6)}}, Nothing, index.DeviceID{}, false},
		"the third failure ends it":              {Situation{Held: &h5, Unproved: not(h6, relay, third, fourth), Heard: []Heard{from(owner, h6), from(relay, h6)}}, Nothing, index.DeviceID{}, true},
		"the third failure, but a higher head":   {Situation{Held: &h5, Unproved: not(h6, relay, third, fourth), Heard: []Heard{from(owner, h7)}}, Change, owner, false},
		"three failures at different heads":      {Situation{Unproved: append(not(h6, relay, third), not(h7, fourth)...), Heard: []Heard{from(owner, h6)}}, BatchFull, owner, false},
		"a failure does not spoil a lower head":  {Situation{Unproved: not(h6, relay, third), Heard: []Heard{from(owner, h5)}}, BatchFull, owner, false},
		"damaged, and what is served is no good": {Situation{Damaged: true, Unproved: not(h6, owner), Heard: []Heard{from(owner, h6)}}, Nothing, index.DeviceID{}, true},
	} {
		c.s.Location = loc
		p := Decide(&c.s)
		if p.Strategy != c.want || p.Provider != c.provider || p.Why == "" || (p.Quarantined != "") != c.quarantined {
			t.Errorf("%s: %+v, want %s from %v", name, p, c.want, c.provider)
		}
	}
}

// TestUnprovedHeads has providers serve what can't be proved, until a higher head comes.
func TestUnprovedHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		seq, bad := int64(5), errors.New("root")
		var asked []string
		names := map[index.DeviceID]string{owner: "owner", relay: "relay", third: "third", fourth: "fourth"}
		var held *index.SignedHead
		situations := func(context.Context) ([]Situation, error) {
			s := Situation{Location: loc, Held: held}
			for _, d := range []index.DeviceID{owner, relay, third, fourth} {
				s.Heard = append(s.Heard, Heard{Device: d, Head: head(epoch1, seq), Held: true, Reachable: true})
			}
			return []Situation{s}, nil
		}
		s := New(Config{Situations: situations, Do: func(_ context.Context, _ Situation, p Plan) error {
			asked = append(asked, fmt.Sprint(names[p.Provider], p.Offer.Seq))
			if p.Offer.Seq == 6 {
				held = ptr(p.Offer)
				return nil
			}
			return fmt.Errorf("pull: %w", &UnprovedError{Head: p.Offer, Err: bad})
		}})
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for range 20 { // connections that come and go, and much time
			s.Retry()
			synctest.Wait()
		}
		if len(asked) != 3 || asked[0] != "owner5" || len(slices.Compact(slices.Sorted(slices.Values(asked)))) != 3 {
			t.Errorf("asked: %q", asked)
		}
		got := s.Unproved(loc)
		if len(got) != 3 || got[0].Device != owner || got[0].Head.Seq != 5 {
			t.Errorf("held against them: %+v", got)
		}
		seq = 6
		s.Retry()
		synctest.Wait()
		if len(asked) != 4 || !strings.HasSuffix(asked[3], "6") {
			t.Errorf("asked: %q", asked)
		}
		s.Kick()
		synctest.Wait()
		if got := s.Unproved(loc); len(got) != 0 {
			t.Errorf("still held against them: %+v", got)
		}
		cancel()
		<-done
	})
	e := &UnprovedError{Head: head(epoch1, 5), Err: context.Canceled}
	if !errors.Is(e, context.Canceled) || !strings.Contains(e.Error(), "seq 5") {
		t.Error(e)
	}
}
