package notice

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
func paced(t *testing.T, every time.Duration, r rate, commits func(commit func(index.Location))) []told {
	t.Helper()
	p := newPacer(every, r)
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	var mu sync.Mutex
	var out []told
	seq := map[index.Location]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		p.run(ctx, func(l index.Location) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, told{l, time.Since(start), seq[l]})
		})
	})
	commits(func(l index.Location) {
		mu.Lock()
		seq[l]++
		mu.Unlock()
		p.add(l)
	})
	time.Sleep(time.Minute)
	cancel()
	wg.Wait()
	return out
}

func locationNo(n int) index.Location { return index.Location{ID: index.LocationID{byte(n)}} }

func TestHundredCommitsInASecondMakeTwoNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := paced(t, 2*time.Second, sendRate(), func(commit func(index.Location)) {
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

func TestNoticesOfALocationDoNotWaitForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := paced(t, 2*time.Second, sendRate(), func(commit func(index.Location)) {
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
		got := paced(t, 2*time.Second, rate{burst: 20, second: 10}, func(commit func(index.Location)) {
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
			t.Errorf("%d notices of %d locations, want %d of each", len(got), len(seen), n)
		}
	})
}

func TestPacerForgetsWhatIsLongAgo(t *testing.T) {
	t.Parallel()
	p := newPacer(time.Second, rate{burst: 1e9, second: 1})
	now := time.Unix(1000, 0)
	for i := range 3 * maxPaced {
		p.add(index.Location{ID: index.LocationID{byte(i >> 8), byte(i)}})
		if _, wait, ok := p.next(now); !ok || wait != 0 {
			t.Fatalf("wait %v, %v", wait, ok)
		}
		now = now.Add(10 * time.Millisecond)
	}
	if len(p.last) > maxPaced {
		t.Errorf("%d remembered", len(p.last))
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	b := buckets{rate: rate{burst: 3, second: 2}}
	now := time.Unix(1000, 0)
	take := func() int {
		n := 0
		for b.take("one", now) {
			n++
		}
		return n
	}
	if n := take(); n != 3 {
		t.Errorf("%d at once, want 3", n)
	}
	if !b.take("two", now) {
		t.Error("another peer had to wait")
	}
	if now = now.Add(500 * time.Millisecond); take() != 1 {
		t.Error("not one after half a second")
	}
	if now = now.Add(time.Hour); take() != 3 {
		t.Error("not three after an hour")
	}
}
