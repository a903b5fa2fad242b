package syncer

import (
	"testing"

	"github.com/peerdex/peerdex/index"
)

func TestDecideByPolicy(t *testing.T) {
	sized := func(e index.Epoch, seq, count int64) index.SignedHead {
		h := head(e, seq)
		h.Count, h.NextID = count, count+1
		return h
	}
	from := func(d index.DeviceID, h index.SignedHead, relayed bool) Heard {
		out := Heard{Device: d, Head: h, Held: true, Reachable: true, Link: LinkNear}
		if relayed {
			out.Link = LinkRelayed
		}
		return out
	}
	large, small := sized(epoch1, 200_000, LazyEntries), sized(epoch1, 200_000, LazyEntries-1)
	near, far := from(owner, large, false), from(owner, large, true)
	away := near
	away.Reachable = false
	elsewhere := from(relay, large, true)
	unheld := from(relay, large, false)
	unheld.Held = false
	later := large
	later.AsOf = 9
	for name, c := range map[string]struct {
		s    Situation
		want Strategy
	}{
		"auto":                           {Situation{Policy: Auto, Heard: []Heard{near}}, BatchFull},
		"no policy is auto":              {Situation{Heard: []Heard{near}}, BatchFull},
		"full":                           {Situation{Policy: Full, Heard: []Heard{near}}, BatchFull},
		"lazy":                           {Situation{Policy: Lazy, Heard: []Heard{near}}, OnDemand},
		"lazy, small":                    {Situation{Policy: Lazy, Heard: []Heard{from(owner, sized(epoch1, 1, 1), false)}}, OnDemand},
		"lazy, nobody there":             {Situation{Policy: Lazy, Heard: []Heard{away}}, OnDemand},
		"lazy, replica behind":           {Situation{Policy: Lazy, Held: ptr(head(epoch1, 5)), Heard: []Heard{near}}, OnDemand},
		"lazy, replica at the newest":    {Situation{Policy: Lazy, Held: ptr(large), Heard: []Heard{near}}, Nothing},
		"lazy, known true later":         {Situation{Policy: Lazy, Held: ptr(large), Heard: []Heard{from(owner, later, false)}}, Touch},
		"lazy, frozen":                   {Situation{Policy: Lazy, Frozen: true, Heard: []Heard{near}}, Nothing},
		"lazy, retired":                  {Situation{Policy: Lazy, Retired: index.Retired, Held: ptr(large), Heard: []Heard{near}}, Drop},
		"off":                            {Situation{Policy: Off, Heard: []Heard{near}}, Nothing},
		"off, replica behind":            {Situation{Policy: Off, Held: ptr(head(epoch1, 5)), Heard: []Heard{near}}, Nothing},
		"off, retired":                   {Situation{Policy: Off, Retired: index.Retired, Held: ptr(large), Heard: []Heard{near}}, Drop},
		"metered, large":                 {Situation{Metered: true, Heard: []Heard{near}}, OnDemand},
		"metered, small":                 {Situation{Metered: true, Heard: []Heard{from(owner, small, false)}}, BatchFull},
		"metered, large, full":           {Situation{Metered: true, Policy: Full, Heard: []Heard{near}}, BatchFull},
		"metered, nobody there":          {Situation{Metered: true, Heard: []Heard{away}}, OnDemand},
		"metered, few changes":           {Situation{Metered: true, Held: ptr(sized(epoch1, 190_001, LazyEntries)), Heard: []Heard{near}}, BatchDelta},
		"metered, many changes":          {Situation{Metered: true, Held: ptr(sized(epoch1, 190_000, LazyEntries)), Heard: []Heard{near}}, OnDemand},
		"metered, many changes, small":   {Situation{Metered: true, Held: ptr(sized(epoch1, 1, 9)), Heard: []Heard{from(owner, small, false)}}, BatchDelta},
		"metered, another epoch":         {Situation{Metered: true, Held: ptr(sized(epoch2, 1, LazyEntries)), Heard: []Heard{from(owner, sized(index.Epoch{Counter: 3}, 1, LazyEntries), false)}}, OnDemand},
		"relayed, large":                 {Situation{Heard: []Heard{far}}, OnDemand},
		"relayed, small":                 {Situation{Heard: []Heard{from(owner, small, true)}}, BatchFull},
		"relayed, but another is direct": {Situation{Heard: []Heard{elsewhere, near}}, BatchFull},
		"relayed, a direct one that holds nothing":  {Situation{Heard: []Heard{elsewhere, unheld}}, OnDemand},
		"relayed, a direct one that is away":        {Situation{Heard: []Heard{elsewhere, away}}, OnDemand},
		"nobody there, and nothing says it is dear": {Situation{Heard: []Heard{away}}, Nothing},
	} {
		c.s.Location, c.s.Rules.Always = loc, BatchFull // how to fetch is not decided here
		if p := Decide(&c.s); p.Strategy != c.want || p.Why == "" || p.Idle() != (c.want == Nothing || c.want == OnDemand) {
			t.Errorf("%s: %+v, want %s", name, p, c.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for s, want := range map[string]bool{"auto": true, "full": true, "lazy": true, "off": true, "": false, "Full": false, "none": false} {
		if p, ok := ParsePolicy(s); ok != want || ok && string(p) != s {
			t.Errorf("%q: %q, %v", s, p, ok)
		}
	}
}
