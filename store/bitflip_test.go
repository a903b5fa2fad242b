package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
)

// TestFlippedBits flips single bits in the file of a replica. Each is found by CheckLocation, also when it works in
// steps, or harmless: whatever is read then, by whichever index, is what was there before. Nothing crashes.
func TestFlippedBits(t *testing.T) {
	flips := 400
	if testing.Short() {
		flips = 60
	}
	if long() {
		flips = 5000
	}
	begun := time.Now()
	w, err := newWorld(scratch(t))
	if err != nil {
		t.Fatal(err)
	}
	many := []index.Change{del("d1")}
	for i := range 400 {
		many = append(many, put(fmt.Sprintf("d%d/a name of usual length %d", i%7, i), int64(i)))
	}
	if err := errors.Join(w.script(), w.commit(many...), w.pull(intake, 100)); err != nil {
		t.Fatal(err)
	}
	path, err := w.replica.LocationFile(t.Context(), w.l)
	if err != nil {
		t.Fatal(err)
	}
	dir := w.replica.Dir()
	want, err := readAll(w.replica, w.l)
	if err != nil || len(want) < 40 || !strings.Contains(strings.Join(want, "\n"), "\nD ") {
		t.Fatalf("%d answers, %v", len(want), err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	var found, harmless, quick int
	for range flips {
		bit := r.IntN(len(sound) * 8)
		damaged := slices.Clone(sound)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := errors.Join(removeDB(path), os.WriteFile(path, damaged, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, readErr := readAll(s, w.l)
		if s.CheckLocation(t.Context(), w.l, CheckOptions{}) != nil {
			quick++
		}
		err = s.CheckLocation(t.Context(), w.l, CheckOptions{Deep: true})
		steps := s.CheckLocation(t.Context(), w.l, CheckOptions{Deep: true, Rest: restless, leaves: 1})
		switch {
		case (err == nil) != (steps == nil):
			t.Errorf("seed %d, bit %d: %v, in steps %v", seed, bit, err, steps)
		case err != nil:
			found++
		case readErr != nil || !slices.Equal(got, want):
			t.Errorf("seed %d, byte %d of page %d, bit %d: other answers, not found: %v\n%s",
				seed, bit/8%4096, bit/8/4096, bit%8, readErr, firstOther(got, want))
		default:
			harmless++
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bits of %d KiB flipped: %d found (%d by the quick check), %d harmless, %.1fs",
		flips, len(sound)>>10, found, quick, harmless, time.Since(begun).Seconds())
}

// restless is for checks in steps that need no rest.
func restless(context.Context, time.Duration) error { return nil }

func firstOther(got, want []string) string {
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			return fmt.Sprintf("answer %d: %q, was %q", i, slices.Concat(got, []string{""})[min(i, len(got))], want[i])
		}
	}
	return fmt.Sprintf("%d answers more", len(got)-len(want))
}

// readAll asks in every way for what a replica holds: the rows by id, folder by folder, and as a delta.
func readAll(s *Store, l index.Location) ([]string, error) {
	ctx := context.Background()
	st, err := readState(s, l)
	if err != nil {
		return nil, err
	}
	held, err := s.Held(ctx, l)
	if err != nil {
		return nil, err
	}
	out := append(slices.Concat(st.rows, st.dead), st.text(), fmt.Sprint(held.Head, held.Horizon, held.Record))
	p, err := s.Page(ctx, PageRequest{Location: l, Epoch: held.Head.Epoch, Mode: index.ModeDelta, Position: held.Horizon, Limit: 4096})
	if err != nil {
		return nil, err
	}
	out = append(out, fmt.Sprint(p.Rows), fmt.Sprint(p.Dead))
	for folders := []int64{index.RootID}; len(folders) > 0 && len(out) < 10_000; folders = folders[1:] {
		for e, err := range s.Children(ctx, l, folders[0]) {
			if err != nil {
				return nil, err
			}
			out = append(out, fmt.Sprint(e))
			if e.Kind == index.KindDir {
				folders = append(folders, e.ID)
			}
		}
	}
	return out, nil
}
