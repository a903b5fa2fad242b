package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerdex/peerdex/test/harness"
)

// TestMain lets the test's own program be the processes that are measured.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{storeChild, syncChild, individualChild}, os.Args[1]) {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(harness.Main(m))
}

// shared is a buffer that several processes write to.
type shared struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

// ReadFrom has copies go through Write.
func (s *shared) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, r)
}

// bench runs the program on little, and checks that it leaves nothing behind.
func bench(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	var notes shared
	if err := run(t.Context(), append(args, "-runs", "1", "-dir", dir), &out, &notes); err != nil {
		t.Fatalf("%v\n%s", err, &notes.Buffer)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left in %s: %v, %v", dir, left, err)
	}
	return out.String()
}

func TestStore(t *testing.T) {
	var got map[string]any
	out := bench(t, "store", "-entries", "2000", "-json")
	d := json.NewDecoder(strings.NewReader(out))
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := d.Decode(&got); !errors.Is(err, io.EOF) {
		t.Errorf("more than one object: %v", err)
	}
	positive := strings.Fields("entries floor_seconds commit_ratio export_native_ratio export_compact_ratio import_native_ratio" +
		" import_compact_ratio delta_10k_seconds one_change_seconds search_seconds list_seconds bytes_per_entry" +
		" mean_name_bytes mean_depth folder_share zstd_ratio compact_bytes_per_entry zstd_bytes_per_entry delta_changes" +
		" search_hits list_entries cpus runs seed stream_seconds")
	if runtime.GOOS == "linux" {
		positive = append(positive, "peak_rss_bytes")
	}
	for _, field := range positive {
		if v, _ := got[field].(float64); v <= 0 {
			t.Errorf("%s is %v", field, got[field])
		}
	}
	for _, field := range []string{"set", "go_version", "sqlite_version", "os"} {
		if v, _ := got[field].(string); v == "" {
			t.Errorf("%s is %v", field, got[field])
		}
	}
	for field, want := range map[string]any{"entries": 2000.0, "verified": true, "search_hits": 100.0, "delta_changes": 200.0, "runs": 1.0} {
		if got[field] != want {
			t.Errorf("%s is %v, want %v", field, got[field], want)
		}
	}
	works, _ := got["works"].([]any)
	if len(works) != 12 {
		t.Errorf("%d works", len(works))
	}
	for _, w := range works {
		w, _ := w.(map[string]any)
		least, _ := w["min_seconds"].(float64)
		median, _ := w["median_seconds"].(float64)
		most, _ := w["max_seconds"].(float64)
		if least <= 0 || median < least || most < median || w["what"] == "" || w["times"] == 0.0 {
			t.Errorf("work %v", w)
		}
	}
}

// TestStoreTable measures a list of paths, and prints for people.
func TestStoreTable(t *testing.T) {
	list := filepath.Join(t.TempDir(), "paths")
	var b strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&b, "srv/share%d/report of %d.txt\n", i%7, i)
	}
	if err := os.WriteFile(list, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := bench(t, "store", "-paths", list)
	for _, want := range []string{"1508 entries (" + list, "import native", `"report", 1500 hits`, "a folder of 215", "verified: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil, {"nothing"}, {"store", "-entries", "-1"}, {"store", "-runs", "0"}, {"store", "more"}, {"store", "-paths", "/nowhere"}, {"store", "-nothing"},
		{"sync", "-strategy", "telepathy"}, {"sync", "-runs", "0"}, {"sync", "more"}, {"sync", "-strategy", "individual", "-changes", "5"},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"store", "-h"}, io.Discard, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-entries") {
		t.Errorf("-h: %v\n%s", err, &help)
	}
}

func TestTiming(t *testing.T) {
	for _, c := range []struct {
		t                         timing
		median, shortest, longest float64
	}{
		{nil, 0, 0, 0},
		{timing{{time.Second, 0}}, 1, 1, 1},
		{timing{{5 * time.Second, 0}, {time.Second, 0}, {3 * time.Second, 0}}, 3, 1, 5},
	} {
		if c.t.median() != c.median || c.t.shortest() != c.shortest || c.t.longest() != c.longest {
			t.Errorf("%v: %v, %v to %v", c.t, c.t.median(), c.t.shortest(), c.t.longest())
		}
	}
	if got := (timing{{1, 5 * time.Second}, {2, time.Second}, {3, 2 * time.Second}}).medianCPU(); got != 2 {
		t.Errorf("median of processor time %v", got)
	}
}
