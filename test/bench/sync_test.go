package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/test/bench/entryset"
)

// syncFields runs the sync benchmark once, and checks the fields that every strategy has.
func syncFields(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var got map[string]any
	out := bench(t, append([]string{"sync", "-entries", "400", "-json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	positive := strings.Fields("seconds entries_per_second wire_bytes_in wire_bytes_out floor_seconds ratio_to_floor" +
		" min_seconds max_seconds wire_bytes_per_entry runs seed cpus")
	if runtime.GOOS == "linux" {
		positive = append(positive, "provider_peak_rss_bytes", "receiver_peak_rss_bytes", "provider_cpu_seconds", "receiver_cpu_seconds")
	}
	for _, field := range positive {
		if v, _ := got[field].(float64); v <= 0 {
			t.Errorf("%s is %v", field, got[field])
		}
	}
	if got["entries"] != 400.0 || got["verified"] != true || got["runs"] != 1.0 || got["set"] != "generated" {
		t.Errorf("%v", got)
	}
	return got
}

// TestSync measures every strategy on little, as the program does: with two processes each.
func TestSync(t *testing.T) {
	for _, how := range strategies() {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			if how.missing != "" {
				err := run(t.Context(), []string{"sync", "-strategy", how.name}, io.Discard, io.Discard)
				if err == nil || !strings.Contains(err.Error(), how.missing) {
					t.Errorf("%v", err)
				}
				return
			}
			if how.first != nil {
				got := syncFields(t, "-strategy", how.name, "-changes", "0")
				if got["strategy"] != how.name || got["changes"] != 0.0 || how.verify == nil && got["reconnect_seconds"] == nil {
					t.Errorf("%v", got)
				}
				if v, _ := got["wire_bytes_per_entry"].(float64); v < 15 || v > 400 {
					t.Errorf("%v bytes an entry", v)
				}
			}
			if how.changed != nil {
				changes := 140.0 // more than are pushed
				if how.name == "change" {
					changes = 40
				}
				got := syncFields(t, "-strategy", how.name, "-changes", fmt.Sprint(changes), "-commits", "1")
				if used, _ := got["used"].([]any); got["changes"] != changes || (len(used) == 0) != (how.name == "change") { // what is pushed is no transfer
					t.Errorf("%v", got)
				}
			}
		})
	}
}

func TestSyncTable(t *testing.T) {
	list := filepath.Join(t.TempDir(), "paths")
	if err := os.WriteFile(list, []byte("a/b\na/c\nd e/f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := bench(t, "sync", "-paths", list)
	for _, want := range []string{"first sync of 5 entries (" + list, "strategy auto (", "reconnect", "verified"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
}

// TestSyncVerifies changes a row of what a receiver holds; that must not count as right.
func TestSyncVerifies(t *testing.T) {
	ctx := t.Context()
	b := &syncBench{how: findStrategy("batch"), dir: t.TempDir(), notes: io.Discard}
	b.set = filepath.Join(b.dir, "entries")
	set, err := entryset.Generate(200, 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(b.set)
	if err != nil {
		t.Fatal(err)
	}
	_, err = entryset.Save(f, set.Entries())
	if err := errors.Join(err, f.Close(), b.prepare(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.fill(ctx, b.template); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(ctx, b.template); err != nil {
		t.Fatal(err)
	}
	file, err := locationFile(ctx, b.template, b.loc)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", fileURI(file, ""))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("UPDATE entries SET size = size + 1 WHERE id = 100")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(ctx, b.template); err == nil {
		t.Error("a changed row counts as right")
	}
	b.how = &strategy{verify: func(ctx context.Context, b *syncBench, dir string) error { return b.compare(ctx, dir) }}
	if err := b.verify(ctx, b.template); err == nil {
		t.Error("the comparison does not see a changed row")
	}
}
