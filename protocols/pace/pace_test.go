package pace

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/index"
)

// told is what a pacer let through, and when.
type told struct {
	loc index.Location
	at  time.Duration
	seq int // of the newest commit at that moment
}

// paced commits as a schedule says and returns what was told.
func paced(t *testing.T, every time.Duration, r Rate, commits func(commit func(index.Location))) []told {
	t.Helper()
	p := NewPacer(every, r)
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	var mu sync.Mutex
	var out []told
	seq := map[index.Location]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		p.Run(ctx, func(l index.Location) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, told{l, time.Since(start), seq[l]})
		})
	})
	commits(func(l index.Location) {
		mu.Lock()
		seq[l]++
		mu.Unlock()
		p.Add(l)
	})
	time.Sleep(time.Minute)
	cancel()
	wg.Wait()
	return out
}

func locationNo(n int) index.Location { return index.Location{ID: index.LocationID{byte(n)}} }

func TestHundredCommitsInASecondAreToldOfTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := paced(t, 2*time.Second, Rate{Burst: 50, Second: 10}, func(commit func(index.Location)) {
			for range 100 {
				commit(locationNo(1))
				synctest.Wait()
				time.Sleep(10 * time.Millisecond)
			}
		})
		want := []told{{locationNo(1), 0, 1}, {locationNo(1), 2 * time.Second, 100}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestLocationsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := paced(t, 2*time.Second, Rate{Burst: 50, Second: 10}, func(commit func(index.Location)) {
			commit(locationNo(1))
			time.Sleep(time.Second)
			commit(locationNo(1))
			commit(locationNo(2))
			time.Sleep(5 * time.Second)
			commit(locationNo(2))
		})
		want := []told{
			{locationNo(1), 0, 1}, {locationNo(2), time.Second, 1}, {locationNo(1), 2 * time.Second, 2}, {locationNo(2), 6 * time.Second, 2},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

// TestAllLocationsTogetherAreLimited has more locations than may be told of at once.
func TestAllLocationsTogetherAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		got := paced(t, 2*time.Second, Rate{Burst: 20, Second: 10}, func(commit func(index.Location)) {
			for i := range n {
				commit(locationNo(i))
			}
		})
		seen := map[index.Location]bool{}
		for i, x := range got {
			seen[x.loc] = true
			if least := time.Duration(max(0, i-19)) * 100 * time.Millisecond; x.at < least || x.at > least+time.Millisecond {
				t.Errorf("the %dth at %v, want %v", i, x.at, least)
			}
		}
		if len(got) != n || len(seen) != n {
			t.Errorf("told %d times of %d locations, want %d of each", len(got), len(seen), n)
		}
	})
}

func TestPacerForgetsWhatIsLongAgo(t *testing.T) {
	t.Parallel()
	p := NewPacer(time.Second, Rate{Burst: 1e9, Second: 1})
	now := time.Unix(1000, 0)
	for i := range 3 * maxPaced {
		l := index.Location{ID: index.LocationID{byte(i >> 8), byte(i)}}
		if p.Add(l); !p.Due(l) {
			t.Fatal("not due")
		}
		if _, wait, ok := p.next(now); !ok || wait != 0 || p.Due(l) {
			t.Fatalf("wait %v, %v, due %v", wait, ok, p.Due(l))
		}
		now = now.Add(10 * time.Millisecond)
	}
	if len(p.last) > maxPaced {
		t.Errorf("%d remembered", len(p.last))
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	b := Buckets{Rate: Rate{Burst: 3, Second: 2}}
	now := time.Unix(1000, 0)
	take := func() int {
		n := 0
		for b.Take("one", now) {
			n++
		}
		return n
	}
	if n := take(); n != 3 {
		t.Errorf("%d at once, want 3", n)
	}
	if !b.Take("two", now) {
		t.Error("another peer had to wait")
	}
	if now = now.Add(500 * time.Millisecond); take() != 1 {
		t.Error("not one after half a second")
	}
	if now = now.Add(time.Hour); take() != 3 {
		t.Error("not three after an hour")
	}
}
