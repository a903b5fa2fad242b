package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// album makes a folder with 80 files in it, with old times, and one to look for.
func album(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 80 {
		name := fmt.Sprintf("photo %d", i)
		if i == 0 {
			name = "needle"
		}
		put(t, filepath.Join(dir, name), name)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_500_000_000, 123_456_789)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func (d *device) notes() string {
	d.t.Helper()
	s, err := d.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Join(s.Notes, "\n")
}

func (d *device) sayOne(own string, with *device, other string) node.Sameness {
	d.t.Helper()
	s, err := d.SetSame(d.t.Context(), node.SameRequest{Location: own, With: with.cfg.DeviceName + ":" + other})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *device) rescan() {
	d.t.Helper()
	if _, err := d.Scan(d.t.Context(), node.ScanRequest{}); err != nil {
		d.t.Fatal(err)
	}
}

// hearsOf waits until a device knows the newest head of another one's location.
func (d *device) hearsOf(owner *device, l node.Location) {
	d.t.Helper()
	eventually(d.t, d.cfg.DeviceName+" hears of "+l.Name, func() bool {
		x, mine := d.see(l), owner.own(l.Name)
		return max(x.Seq, x.HeardSeq) == mine.Seq
	})
}

// TestBindMount has one folder at two paths, each indexed by a device: it is offered, taken when a person says so, and then
// neither fetched nor listed twice, also after a restart, until that is taken back.
func TestBindMount(t *testing.T) {
	t.Parallel()
	here, there := album(t, filepath.Join(t.TempDir(), "media")), filepath.Join(t.TempDir(), "mnt")
	bind(t, here, there)
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	media := nas.add(here)
	laptop.add(there)
	nas.pairWith(laptop)
	laptop.holds(nas, media)
	want := "mnt looks like the same folder as media of nas: it is on the same volume at the same path"
	if notes := laptop.notes(); !strings.Contains(notes, want) || !strings.Contains(notes, "peerdex same mnt nas:media (or") {
		if strings.Contains(notes, "names, sizes and times") {
			t.Skip("the filesystem of the temporary folder has no name")
		}
		t.Fatalf("notes: %s", notes)
	}
	both := []string{"laptop:" + there + "/needle", "nas:" + here + "/needle"}
	if got := laptop.find("needle"); !slices.Equal(got, both) || laptop.see(media).State != api.StateCurrent {
		t.Errorf("taken without being asked: %q, %+v", got, laptop.see(media))
	}

	s := laptop.sayOne("mnt", nas, "media")
	if s.Answer != api.AnswerSame || s.Evidence != api.EvidenceVolume || s.Own.Name != "mnt" || s.Other.State != api.StateSame || s.At.IsZero() {
		t.Errorf("answered: %+v", s)
	}
	put(t, filepath.Join(here, "needle 2"), "")
	nas.rescan()
	laptop.hearsOf(nas, media)
	for range 2 {
		if x := laptop.see(media); x.State != api.StateSame || x.Seq != media.Seq || !strings.Contains(x.Detail, "indexes as mnt") {
			t.Errorf("fetched, or not the same: %+v", x)
		}
		if got := laptop.find("needle"); !slices.Equal(got, []string{"laptop:" + there + "/needle"}) {
			t.Errorf("found %q", got)
		}
		if notes := laptop.notes(); strings.Contains(notes, "looks like") {
			t.Errorf("notes: %s", notes)
		}
		laptop.stop()
		r, err := node.OpenReader(laptop.cfg.Dir)
		if err != nil {
			t.Fatal(err)
		}
		all, err := r.Same(t.Context())
		if err != nil || len(all) != 1 || all[0].Answer != api.AnswerSame || all[0].Other.State != api.StateSame {
			t.Errorf("without a daemon: %+v, %v", all, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		laptop.start()
	}
	// Who names the other device, or the path there, gets what is known of it.
	for _, q := range []string{"needle on:nas", "needle location:media", "path:" + here + " needle"} {
		if got := laptop.find(q); !slices.Equal(got, both[1:]) {
			t.Errorf("%s: %q", q, got)
		}
	}
	if got := nas.find("name:needle"); len(got) < 2 {
		t.Errorf("the other device was not asked: %q", got)
	}

	laptop.rescan()
	if _, err := laptop.SetSame(t.Context(), node.SameRequest{Location: "mnt", With: "nas:media", Different: true}); err != nil {
		t.Fatal(err)
	}
	laptop.holds(nas, media)
	if got := laptop.find("needle"); len(got) != 4 {
		t.Errorf("taken back, found %q", got)
	}
	if notes := laptop.notes(); strings.Contains(notes, "looks like") {
		t.Errorf("asked again: %s", notes)
	}
}

// TestCopiedTree has a copy with all its times. Where both lie is told of neither: it looks the same, is told of so, and is
// never taken for the same before a person says so; with both places known it is not even asked.
func TestCopiedTree(t *testing.T) {
	t.Parallel()
	here, there := album(t, filepath.Join(t.TempDir(), "media")), album(t, filepath.Join(t.TempDir(), "copy"))
	at := time.Unix(1_500_000_000, 0)
	for _, d := range []string{here, there} {
		if err := os.Chtimes(d, at, at); err != nil {
			t.Fatal(err)
		}
	}
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	places := map[string]string{}
	nas.PlaceFolders(func(string) string { return "" })
	laptop.PlaceFolders(func(p string) string { return places[p] })
	media := nas.add(here)
	laptop.add(there)
	nas.pairWith(laptop)
	laptop.holds(nas, media)
	if notes := laptop.notes(); !strings.Contains(notes, "copy looks like the same folder as media of nas: names, sizes and times are equal, as they are of a copy, too;") {
		t.Fatalf("notes: %s", notes)
	}
	put(t, filepath.Join(here, "needle 2"), "")
	nas.rescan()
	laptop.holds(nas, media)
	if got := laptop.find("needle"); len(got) != 3 {
		t.Errorf("taken without being asked: %q", got)
	}
	put(t, filepath.Join(there, "needle 2"), "")
	laptop.rescan()
	if s := laptop.sayOne("copy", nas, "media"); s.Evidence != api.EvidenceListing || laptop.see(media).State != api.StateSame {
		t.Fatalf("answered: %+v", s)
	}
	// The answer was for other folders once one of them names another place, and with places that differ it isn't possible.
	nas.PlaceFolders(func(string) string { return "uuid:1:/media" })
	places[there] = "uuid:1:/copy"
	nas.rescan()
	laptop.rescan()
	laptop.hearsOf(nas, media)
	if laptop.see(media).State != api.StateSame {
		t.Errorf("a place that is known now says nothing against what it was: %+v", laptop.see(media))
	}
	nas.PlaceFolders(func(string) string { return "uuid:2:/media" })
	if _, err := laptop.SetSame(t.Context(), node.SameRequest{Location: "copy", With: "nas:media"}); err == nil || !strings.Contains(err.Error(), "different folders of local disks") {
		t.Errorf("two folders of one disk: %v", err)
	}
}

// TestSameForgotten is about what ends an answer by itself.
func TestSameForgotten(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(nas, laptop *device, here, there string){
		"the volume is another one": func(nas, laptop *device, _, _ string) {
			nas.PlaceFolders(func(string) string { return "uuid:2:/" })
			nas.rescan()
		},
		"the own one is removed": func(_, laptop *device, _, _ string) {
			if _, err := laptop.RemoveLocation(laptop.t.Context(), node.RemoveRequest{Location: "copy"}); err != nil {
				laptop.t.Fatal(err)
			}
		},
		"too different for a week": func(_, laptop *device, _, there string) {
			if err := laptop.ApartSince(laptop.t.Context(), time.Now().Add(-8*24*time.Hour)); err != nil {
				laptop.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := album(t, filepath.Join(t.TempDir(), "media")), album(t, filepath.Join(t.TempDir(), "copy"))
			nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
			nas.PlaceFolders(func(string) string { return "uuid:1:/" })
			laptop.PlaceFolders(func(string) string { return "uuid:1:/" })
			media := nas.add(here)
			laptop.add(there)
			nas.pairWith(laptop)
			laptop.holds(nas, media)
			laptop.sayOne("copy", nas, "media")
			eventually(t, "it is the same", func() bool { return laptop.see(media).State == api.StateSame })
			end(nas, laptop, here, there)
			eventually(t, "the answer is forgotten", func() bool {
				all, err := laptop.Same(t.Context())
				return err == nil && !slices.ContainsFunc(all, func(s node.Sameness) bool { return s.Answer != "" })
			})
			laptop.holds(nas, media)
			if got := laptop.find("needle"); !slices.Contains(got, "nas:"+here+"/needle") {
				t.Errorf("found %q", got)
			}
		})
	}
}

// TestSameAway has the folder go away and come back. Meanwhile the other device's index is fetched and searched.
func TestSameAway(t *testing.T) {
	t.Parallel()
	here, there := album(t, filepath.Join(t.TempDir(), "media")), album(t, filepath.Join(t.TempDir(), "copy"))
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.PlaceFolders(func(string) string { return "nfs:x:/media" })
	laptop.PlaceFolders(func(string) string { return "nfs:x:/media" })
	media := nas.add(here)
	laptop.add(there)
	nas.pairWith(laptop)
	laptop.holds(nas, media)
	if s := laptop.sayOne(there, nas, here); s.Evidence != api.EvidenceShare {
		t.Fatalf("answered: %+v", s)
	}
	if err := os.Rename(there, there+" away"); err != nil {
		t.Fatal(err)
	}
	laptop.rescan()
	put(t, filepath.Join(here, "needle 2"), "")
	nas.rescan()
	laptop.holds(nas, media)
	if got := laptop.find("needle"); !slices.Equal(got, []string{"nas:" + here + "/needle", "nas:" + here + "/needle 2"}) {
		t.Errorf("while it is away: %q", got)
	}
	if err := os.Rename(there+" away", there); err != nil {
		t.Fatal(err)
	}
	laptop.rescan()
	if got := laptop.find("needle"); !slices.Equal(got, []string{"laptop:" + there + "/needle"}) || laptop.see(media).State != api.StateSame {
		t.Errorf("when it is back: %q", got)
	}
}

// TestSameRefused is about answers that make no sense.
func TestSameRefused(t *testing.T) {
	t.Parallel()
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	media := nas.add(tree(t, "a", "b"))
	mine := laptop.add(tree(t, "x", "y"))
	nas.pairWith(laptop)
	laptop.holds(nas, media)
	for _, c := range []struct {
		r    node.SameRequest
		code api.Code
	}{
		{node.SameRequest{Location: mine.Name, With: "nas:" + media.Name}, api.CodeConflict},
		{node.SameRequest{Location: mine.Name, With: "nas"}, api.CodeUsage},
		{node.SameRequest{Location: mine.Name}, api.CodeUsage},
		{node.SameRequest{Location: mine.Name, With: "nas:none"}, api.CodeNotFound},
		{node.SameRequest{Location: mine.Name, With: "laptop:" + mine.Name}, api.CodeNotFound},
		{node.SameRequest{Location: "none", With: "nas:" + media.Name}, api.CodeNotFound},
	} {
		if _, err := laptop.SetSame(context.Background(), c.r); api.AsError(err).Code != c.code {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
	if all, err := laptop.Same(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
