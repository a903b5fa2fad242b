package wire

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestPlaces(t *testing.T) {
	t.Parallel()
	l := NewPlaces(3, 2)
	take := func(p peer.ID, want bool) {
		t.Helper()
		if got := l.Take(p); got != want {
			t.Errorf("a place for %s: %v with %d taken", p, got, l.Taken())
		}
	}
	take("a", true)
	take("a", true)
	take("a", false) // its own limit
	take("b", true)
	take("c", false) // the limit of all
	l.Release("a")
	take("c", true)
	for _, p := range []peer.ID{"a", "b", "c"} {
		l.Release(p)
	}
	if l.Taken() != 0 || len(l.taken) != 0 {
		t.Errorf("%d places left taken, %v", l.Taken(), l.taken)
	}
	byDefault := NewPlaces(0, 0)
	n := 0
	for _, p := range []peer.ID{"a", "b", "c", "d", "e"} {
		for byDefault.Take(p) {
			n++
		}
	}
	if n != 8 {
		t.Errorf("%d places by default", n)
	}
}

// TestPlacesWait has streams come before the ones that they follow have ended.
func TestPlacesWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewPlaces(2, 1)
		begun := time.Now()
		if !l.Wait(t.Context(), "a") || !l.Wait(t.Context(), "b") || time.Since(begun) != 0 {
			t.Error("a place that is free was not taken at once")
		}
		if l.Wait(t.Context(), "a") || time.Since(begun) != placeGrace {
			t.Errorf("refused after %v", time.Since(begun))
		}
		got := make(chan bool, 2)
		for range 2 {
			go func() { got <- l.Wait(t.Context(), "a") }()
		}
		time.Sleep(placeGrace / 2)
		l.Release("b") // a place, but not for a
		synctest.Wait()
		l.Release("a")
		if first, second := <-got, <-got; !first || second || l.Taken() != 1 {
			t.Errorf("%v and %v with one place, %d taken", first, second, l.Taken())
		}
		ctx, cancel := context.WithCancel(t.Context())
		begun = time.Now()
		time.AfterFunc(placeGrace/4, cancel)
		if l.Wait(ctx, "a") || time.Since(begun) != placeGrace/4 {
			t.Errorf("ended after %v", time.Since(begun))
		}
		l.Release("a")
	})
}
