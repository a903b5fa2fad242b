package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

const badName = "caf\xe9 \xff\xfe.txt" // Latin-1, as old disks hold it

func sampleHit(path string) api.Hit {
	return api.Hit{
		Device: "nas", Path: path, Kind: index.KindFile, Size: 12, Modified: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Mode: 0o644, Owner: index.DeviceID{1}, Location: index.LocationID{2}, EntryID: 7,
		AsOf: time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC),
	}
}

func sampleLocation(root string) api.Location {
	return api.Location{
		Owner: index.DeviceID{1}, ID: index.LocationID{2}, Device: "nas", Own: true, Name: "docs", Root: root,
		State: api.StateCurrent, Entries: 3, AsOf: time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC), Seq: 9,
	}
}

// TestExactBytes sends names that are not text through JSON and back, as [Hit] and its kin promise.
func TestExactBytes(t *testing.T) {
	away := sampleLocation("/mnt/" + badName)
	away.UnreadablePaths = []string{"plain", "a/" + badName}
	for _, tc := range []struct {
		name string
		in   any
		out  func([]byte) (any, error)
		raw  string // a field that must be there, or "" for none of them
	}{
		{"hit of text", sampleHit("/ünï/x"), decode[api.Hit], ""},
		{"hit of bytes", sampleHit("/x/" + badName), decode[api.Hit], "path_raw"},
		{"location of text", sampleLocation("/tank/docs"), decode[api.Location], ""},
		{"location of bytes", away, decode[api.Location], "root_raw"},
		{"unreadable paths of bytes", away, decode[api.Location], "unreadable_paths_raw"},
		{"listing of text", api.Listing{Device: "nas", Path: "/a", Entries: []api.Hit{sampleHit("/a/b")}, Next: "b"}, decode[api.Listing], ""},
		{"listing of bytes", api.Listing{Device: "nas", Path: "/" + badName, Entries: []api.Hit{sampleHit("/a/" + badName)}, Next: badName}, decode[api.Listing], "path_raw"},
		{"add of text", api.AddRequest{Path: "/a", Name: "n"}, decode[api.AddRequest], ""},
		{"add of bytes", api.AddRequest{Path: "/" + badName}, decode[api.AddRequest], "path_raw"},
		{"policy of bytes", api.PolicyRequest{Of: "/" + badName, Policy: "off"}, decode[api.PolicyRequest], "of_raw"},
		{"sync of bytes", api.SyncRequest{Location: "/" + badName}, decode[api.SyncRequest], "location_raw"},
		{"check of bytes", api.CheckRequest{Location: "/" + badName}, decode[api.CheckRequest], "location_raw"},
		{"scan of bytes", api.ScanRequest{Location: "/" + badName}, decode[api.ScanRequest], "location_raw"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := json.Marshal(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if tc.raw == "" && strings.Contains(string(b), "_raw") {
				t.Errorf("a raw field for text: %s", b)
			}
			if tc.raw != "" && !strings.Contains(string(b), `"`+tc.raw+`"`) {
				t.Errorf("no %s in %s", tc.raw, b)
			}
			got, err := tc.out(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.in, got); d != "" {
				t.Errorf("round trip (-want +got):\n%s", d)
			}
		})
	}
}

func decode[T any](b []byte) (any, error) {
	var v T
	err := json.Unmarshal(b, &v)
	return v, err
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add("")
	f.Add(api.EncodeCursor(badName))
	f.Add("%%%")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := api.DecodeCursor(s)
		if err != nil {
			return
		}
		again, err := api.DecodeCursor(api.EncodeCursor(name))
		if err != nil || again != name {
			t.Errorf("cursor %q: %q became %q, %v", s, name, again, err)
		}
	})
}

func FuzzHit(f *testing.F) {
	for _, p := range []string{"/a", "/" + badName} {
		b, err := json.Marshal(sampleHit(p))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second api.Hit
		if json.Unmarshal(b, &first) != nil || first.Kind == 0 {
			return // an entry always has a kind
		}
		again, err := json.Marshal(first)
		if err != nil {
			return // a time or a kind outside of what JSON can say
		}
		if err := json.Unmarshal(again, &second); err != nil || second.Path != first.Path {
			t.Errorf("path %q became %q, %v", first.Path, second.Path, err)
		}
	})
}

func BenchmarkHit(b *testing.B) {
	h := sampleHit("/tank/photos/2019/summer 2019/IMG_0412.jpg")
	for b.Loop() {
		data, err := json.Marshal(h)
		if err != nil {
			b.Fatal(err)
		}
		if err := json.Unmarshal(data, &h); err != nil {
			b.Fatal(err)
		}
	}
}
