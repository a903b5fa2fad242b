package wire

import (
	"testing"

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
