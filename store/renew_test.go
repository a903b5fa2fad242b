package store

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
)

// TestRenew destroys the file of an own location. What others heard of it decides where the new epoch begins.
func TestRenew(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLocationIn(t, s)
	commit(t, s, l, put("a/b", 1), put("c", 2))
	told, err := s.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.LocationFile(t.Context(), l)
	if err := errors.Join(err, s.Close(), os.WriteFile(path, []byte("this is not a database"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if _, err := s.Held(t.Context(), l); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the destroyed file: %v", err)
	}
	forget := func() {
		t.Helper()
		if err := s.node.tx(t.Context(), func(c *conn) error { return c.script("DELETE FROM heard") }); err != nil {
			t.Fatal(err)
		}
	}
	forged := Heard{Device: index.DeviceID{1}, Head: told.Head, Record: told.Raw}
	forged.Head.Seq += 1000
	for name, heard := range map[string][]Heard{"nothing": nil, "a head that we did not sign": {forged}} {
		forget()
		for _, h := range heard {
			if err := s.SetHeard(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Renew(t.Context(), l); !errors.Is(err, ErrCorrupt) {
			t.Errorf("renewed from %s: %v", name, err)
		}
	}
	for _, h := range []Heard{forged, {Device: index.DeviceID{2}, Head: told.Head, Record: told.Raw, At: time.Now()}} {
		if err := s.SetHeard(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Renew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	held, err := s.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	h, was := held.Head, told.Head
	if h.Epoch.Counter != was.Epoch.Counter+1 || h.Seq <= was.Seq || h.Seq > was.Seq+10 || h.NextID != was.NextID ||
		h.Count != 1 || h.Library != was.Library || held.Record.Name != "docs" || h.Verify() != nil {
		t.Fatalf("was %+v, is %+v, %+v", was.Head, h.Head, held.Record)
	}
	if r := commit(t, s, l, put("a/b", 1)); r.Head.NextID != was.NextID+2 {
		t.Fatalf("after the renewal: %+v", r)
	}
	other := index.Location{Owner: index.DeviceID{1}}
	if err := s.Renew(t.Context(), other); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("a location of another device: %v", err)
	}
}
