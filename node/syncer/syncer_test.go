package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/index"
)

var (
	owner  = index.DeviceID{1}
	relay  = index.DeviceID{2}
	loc    = index.Location{Owner: owner, ID: index.LocationID{9}}
	epoch1 = index.Epoch{Counter: 1, Random: 5}
	epoch2 = index.Epoch{Counter: 2, Random: 6}
)

func head(e index.Epoch, seq int64) index.SignedHead {
	return index.SignedHead{Head: index.Head{Location: loc, Epoch: e, Seq: seq, Count: 1, NextID: 2}}
}

func ptr(h index.SignedHead) *index.SignedHead { return &h }

func TestDecide(t *testing.T) {
	later := head(epoch1, 5)
	later.AsOf = 99
	from := func(d index.DeviceID, h index.SignedHead) Heard {
		return Heard{Device: d, Head: h, Held: true, Reachable: true}
	}
	gone := func(d index.DeviceID, h index.SignedHead) Heard { return Heard{Device: d, Head: h, Held: true} }
	away := gone(owner, head(epoch1, 9))
	notHeld := from(relay, head(epoch1, 9))
	notHeld.Held = false
	pruned := from(relay, head(epoch1, 9))
	pruned.Horizon = 6
	for name, c := range map[string]struct {
		s        Situation
		want     Strategy
		provider index.DeviceID
	}{
		"nothing heard":                       {Situation{}, Nothing, index.DeviceID{}},
		"first sync from the owner":           {Situation{Heard: []Heard{from(owner, head(epoch1, 5))}}, BatchFull, owner},
		"the owner before a relay":            {Situation{Heard: []Heard{from(relay, head(epoch1, 5)), from(owner, head(epoch1, 5))}}, BatchFull, owner},
		"a higher head before the owner":      {Situation{Heard: []Heard{from(owner, head(epoch1, 5)), from(relay, head(epoch1, 6))}}, BatchFull, relay},
		"owner away, relay serves":            {Situation{Heard: []Heard{away, from(relay, head(epoch1, 5))}}, BatchFull, relay},
		"nobody reachable":                    {Situation{Heard: []Heard{away}}, Nothing, index.DeviceID{}},
		"reachable but holds nothing":         {Situation{Heard: []Heard{notHeld}}, Nothing, index.DeviceID{}},
		"delta":                               {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 6))}}, Change, owner},
		"99 changes missed":                   {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 104))}}, Change, owner},
		"100 changes missed":                  {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 105))}}, Change, owner},
		"101 changes missed":                  {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 106))}}, BatchDelta, owner},
		"a change is being applied":           {Situation{Moving: true, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 106))}}, Nothing, index.DeviceID{}},
		"held already":                        {Situation{Held: ptr(head(epoch1, 6)), Heard: []Heard{from(owner, head(epoch1, 6))}}, Nothing, index.DeviceID{}},
		"older than held":                     {Situation{Held: ptr(head(epoch1, 6)), Heard: []Heard{from(relay, head(epoch1, 5))}}, Nothing, index.DeviceID{}},
		"known true later":                    {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, later)}}, Touch, index.DeviceID{}},
		"new epoch":                           {Situation{Held: ptr(head(epoch1, 50)), Heard: []Heard{from(owner, head(epoch2, 6))}}, Reconcile, owner},
		"new epoch, another provider ahead":   {Situation{Held: ptr(head(epoch1, 50)), Heard: []Heard{from(relay, head(epoch1, 60)), from(owner, head(epoch2, 6))}}, Reconcile, owner},
		"new epoch, its holder is away":       {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, head(epoch1, 6)), gone(owner, head(epoch2, 6))}}, Change, relay},
		"new epoch, too much differs":         {Situation{Apart: true, Held: ptr(head(epoch1, 50)), Heard: []Heard{from(owner, head(epoch2, 6))}}, BatchFull, owner},
		"below the horizon":                   {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{pruned}}, Reconcile, relay},
		"below the horizon, too much differs": {Situation{Apart: true, Held: ptr(head(epoch1, 5)), Heard: []Heard{pruned}}, BatchFull, relay},
		"at the horizon":                      {Situation{Held: ptr(head(epoch1, 6)), Heard: []Heard{pruned}}, Change, relay},
		"another provider serves the delta":   {Situation{Held: ptr(head(epoch1, 5)), Heard: []Heard{pruned, from(owner, head(epoch1, 7))}}, Change, owner},
		"a provider that failed comes last":   {Situation{Avoid: []index.DeviceID{owner}, Heard: []Heard{from(owner, head(epoch1, 7)), from(relay, head(epoch1, 6))}}, BatchFull, relay},
		"a provider that failed, but alone":   {Situation{Avoid: []index.DeviceID{owner}, Heard: []Heard{from(owner, head(epoch1, 7))}}, BatchFull, owner},
		"mismatch: the next provider":         {Situation{Unproved: []Unproved{{Device: relay, Head: head(epoch1, 8), Delta: true}}, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, head(epoch1, 8)), from(owner, head(epoch1, 7))}}, Change, owner},
		"mismatch: then the tree":             {Situation{Unproved: []Unproved{{Device: relay, Head: head(epoch1, 8), Delta: true}, {Device: owner, Head: head(epoch1, 8), Delta: true}}, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, head(epoch1, 7)), from(owner, head(epoch1, 7))}}, Reconcile, owner},
		"mismatch: nobody else is there":      {Situation{Unproved: []Unproved{{Device: relay, Head: head(epoch1, 8), Delta: true}}, Avoid: []index.DeviceID{relay}, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, head(epoch1, 7)), away}}, Reconcile, relay},
		"mismatch of a first sync":            {Situation{Unproved: []Unproved{{Device: relay, Head: head(epoch1, 7)}}, Heard: []Heard{from(relay, head(epoch1, 7))}}, Nothing, index.DeviceID{}},
		"mismatch of a delta, then of a tree": {Situation{Unproved: []Unproved{{Device: relay, Head: head(epoch1, 7)}}, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(relay, head(epoch1, 7))}}, Nothing, index.DeviceID{}},
		"same as here":                        {Situation{Same: "mnt", Heard: []Heard{from(owner, head(epoch1, 7))}}, Nothing, index.DeviceID{}},
		"same as here, known true later":      {Situation{Same: "mnt", Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, later)}}, Nothing, index.DeviceID{}},
		"same as here, damaged":               {Situation{Same: "mnt", Damaged: true, Heard: []Heard{from(owner, head(epoch1, 7))}}, Nothing, index.DeviceID{}},
		"same as here, but removed":           {Situation{Same: "mnt", Retired: index.Retired, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 7))}}, Drop, index.DeviceID{}},
		"frozen":                              {Situation{Frozen: true, Heard: []Heard{from(owner, head(epoch1, 7))}}, Nothing, index.DeviceID{}},
		"retired, replica held":               {Situation{Retired: index.Retired, Held: ptr(head(epoch1, 5)), Heard: []Heard{notHeld}}, Drop, index.DeviceID{}},
		"retired, nothing held":               {Situation{Retired: index.Retired, Heard: []Heard{notHeld}}, Nothing, index.DeviceID{}},
		"archived: the last delta is fetched": {Situation{Retired: index.Archived, Held: ptr(head(epoch1, 5)), Heard: []Heard{from(owner, head(epoch1, 6))}}, Change, owner},
	} {
		c.s.Location = loc
		if p := Decide(&c.s); p.Strategy != c.want || p.Provider != c.provider || p.Why == "" {
			t.Errorf("%s: %+v, want %s from %v", name, p, c.want, c.provider)
		}
	}
}

// TestBackOff checks that a failing transfer is tried again after growing waits, and at once after a success.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		s := New(Config{
			Situations: func(context.Context) ([]Situation, error) {
				return []Situation{{Location: loc, Heard: []Heard{{Device: owner, Head: head(epoch1, 5), Held: true, Reachable: true}}}}, nil
			},
			Do: func(context.Context, Situation, Plan) error {
				at = append(at, time.Since(start))
				if len(at) == 5 {
					cancel()
				}
				return errors.New("cut")
			},
		})
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if len(at) != 5 || at[0] != 0 {
			t.Fatalf("tries at %v", at)
		}
		for i, wait := 1, time.Second; i < 5; i, wait = i+1, 2*wait {
			if got := at[i] - at[i-1]; got < wait || got > wait*5/4 {
				t.Errorf("wait %d was %v, want %v to %v", i, got, wait, wait*5/4)
			}
		}
	})
}

// TestMismatch checks what is tried when changes don't lead to what the owner signed: the next provider, then the tree.
func TestMismatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []string
		ctx, cancel := context.WithCancel(t.Context())
		held := head(epoch1, 5)
		s := New(Config{
			Situations: func(context.Context) ([]Situation, error) {
				return []Situation{{Location: loc, Held: &held, Heard: []Heard{
					{Device: relay, Head: head(epoch1, 8), Held: true, Reachable: true},
					{Device: owner, Head: head(epoch1, 7), Held: true, Reachable: true},
				}}}, nil
			},
			Do: func(_ context.Context, _ Situation, p Plan) error {
				by := "relay"
				if p.Provider == owner {
					by = "owner"
				}
				tried = append(tried, string(p.Strategy)+" "+by)
				if p.Strategy == Change {
					return &UnprovedError{Head: p.Offer, Delta: true, Err: errors.New("root")}
				}
				held = p.Offer
				cancel()
				return nil
			},
		})
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(tried), "[state-change relay state-change owner reconcile relay]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// TestLimits checks that no more than the allowed transfers run at once, in all and of one device, and never two of a
// location.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		running := map[index.Location]index.DeviceID{}
		finished := map[index.Location]bool{}
		most := 0
		s := New(Config{
			Situations: func(context.Context) ([]Situation, error) {
				mu.Lock()
				defer mu.Unlock()
				var out []Situation
				for i := range 30 {
					l := index.Location{Owner: index.DeviceID{byte(i % 3), 7}, ID: index.LocationID{byte(i)}}
					if finished[l] {
						continue
					}
					h := head(epoch1, 5)
					h.Location = l
					out = append(out, Situation{Location: l, Heard: []Heard{{Device: l.Owner, Head: h, Held: true, Reachable: true}}})
				}
				return out, nil
			},
			Do: func(_ context.Context, sit Situation, p Plan) error {
				mu.Lock()
				if _, twice := running[sit.Location]; twice {
					t.Errorf("two transfers of %v", sit.Location)
				}
				running[sit.Location] = p.Provider
				same := 0
				for _, d := range running {
					if d == p.Provider {
						same++
					}
				}
				if most = max(most, len(running)); len(running) > 4 || same > 2 {
					t.Errorf("%d transfers at once, %d of one device", len(running), same)
				}
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				delete(running, sit.Location)
				finished[sit.Location] = true
				if len(finished) == 30 {
					cancel()
				}
				return nil
			},
		})
		for range 3 {
			s.Kick()
		}
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) || most != 4 || len(finished) != 30 {
			t.Fatalf("%v: %d at most, %d done", err, most, len(finished))
		}
	})
}
