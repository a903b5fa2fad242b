package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

// TestSames keeps answers over a restart, and a location is the same as one own location at most.
func TestSames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := index.Location{Owner: index.DeviceID{1}, ID: index.LocationID{2}}
	yes := Same{Location: l, Own: index.LocationID{3}, Yes: true, Evidence: "volume", Mine: "uuid:1:/caf\xe9", Theirs: "uuid:1:/", At: time.Unix(0, 5), Differs: time.Unix(0, 6)}
	no := Same{Location: l, Own: index.LocationID{4}, At: time.Unix(0, 7)}
	before := yes
	before.Own = index.LocationID{5}
	for _, x := range []Same{no, before, yes} {
		if err := s.SetSame(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	late := yes
	late.At, late.Differs = time.Unix(0, 4), time.Unix(0, 1)
	for _, x := range []Same{yes, late} {
		if err := s.SetDiffers(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	got, err := s.Sames(t.Context())
	if diff := cmp.Diff([]Same{yes, no}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, x := range []Same{no, no, late} { // the last one is not what is there
		if err := s.ForgetSame(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = s.Sames(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	no.Own = yes.Own
	if err := s.SetSame(t.Context(), no); err != nil {
		t.Fatal(err)
	}
	got, err = s.Sames(t.Context())
	if diff := cmp.Diff([]Same{no}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
