package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

// TestJobs keeps jobs over a restart, writes one over another, and forgets one.
func TestJobs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	held, err := s.Held(t.Context(), newLocationIn(t, s))
	if err != nil {
		t.Fatal(err)
	}
	full := Job{
		Location: index.Location{Owner: index.DeviceID{1}, ID: index.LocationID{2}}, State: "busy", Head: held.Head, Strategy: "native",
		Provider: index.DeviceID{3}, Done: 5, Total: 6, Attempts: 7, Next: time.Unix(0, 8), Error: "why",
	}
	bare := Job{State: "paused"} // of all locations: without anything
	over := full
	over.State = "queued"
	for _, j := range []Job{over, bare, full} {
		if err := s.SetJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	got, err := s.Jobs(t.Context())
	if diff := cmp.Diff([]Job{bare, full}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for range 2 {
		if err := s.EndJob(t.Context(), full.Location); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = s.Jobs(t.Context()); err != nil || len(got) != 1 || got[0].State != "paused" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDropStaging drops what was received of a snapshot, but not while it is being received.
func TestDropStaging(t *testing.T) {
	t.Parallel()
	_, l, n := exported(t, 3000, Compact)
	replica := newStore(t)
	d := download(t, replica, l)
	if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
		t.Fatal(err)
	}
	feed(t, d, n, 45_678)
	if err := replica.DropStaging(l); !errors.Is(err, ErrBusy) {
		t.Errorf("while it is open: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	staging := filepath.Join(replica.Dir(), "staging")
	if files, err := os.ReadDir(staging); err != nil || len(files) == 0 {
		t.Fatalf("nothing is staged: %v", err)
	}
	for range 2 {
		if err := replica.DropStaging(l); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := os.ReadDir(staging); err != nil || len(files) != 0 {
		t.Errorf("left: %v, %v", files, err)
	}
	d = download(t, replica, l)
	have(t, d, n, 0)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
