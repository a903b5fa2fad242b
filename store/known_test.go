package store

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

// TestHeardIsReadByLocationAndByDevice checks that the three ways to read what was heard tell the same rows.
func TestHeardIsReadByLocationAndByDevice(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	one, two := newLocationIn(t, s), newLocationIn(t, s)
	near, far := index.DeviceID{1}, index.DeviceID{2}
	var said []Heard
	for i, l := range []index.Location{one, two} {
		held, err := s.Held(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []index.DeviceID{near, far} {
			said = append(said, Heard{
				Device: d, Head: held.Head, Record: held.Raw, Horizon: int64(i), Size: int64(i) * 4096, Held: d == near, Listed: l == one, At: time.Unix(0, int64(i+1)),
			})
		}
	}
	for _, h := range said {
		if err := s.SetHeard(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.AllHeard(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	others := func(all []Heard) []Heard { // this store itself said of its own locations that it holds them
		return slices.DeleteFunc(all, func(h Heard) bool { return h.Device == s.Self() })
	}
	of, err := s.HeardOf(t.Context(), two)
	if diff := cmp.Diff(said[2:], others(of)); err != nil || diff != "" {
		t.Errorf("of one location: %v %s", err, diff)
	}
	if diff := cmp.Diff(said[2:], others(all[two])); diff != "" {
		t.Errorf("of all: %s", diff)
	}
	from, err := s.HeardFrom(t.Context(), near)
	if err != nil || len(from) != 2 || from[0].Device != near || from[1].Device != near || from[0].Head.Location == from[1].Head.Location {
		t.Errorf("from one device: %+v, %v", from, err)
	}
	if none, err := s.HeardFrom(t.Context(), index.DeviceID{3}); err != nil || len(none) != 0 {
		t.Errorf("from one that said nothing: %+v, %v", none, err)
	}
}
