package node_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/archive"
	"github.com/peerdex/peerdex/store"
)

func (d *device) export(of string) []byte {
	d.t.Helper()
	var b bytes.Buffer
	if err := d.Export(d.t.Context(), node.ExportRequest{Of: of}, &b); err != nil {
		d.t.Fatal(err)
	}
	return b.Bytes()
}

func (d *device) imports(file []byte) node.ImportResult {
	d.t.Helper()
	res, err := d.Import(d.t.Context(), bytes.NewReader(file))
	if err != nil {
		d.t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(d.cfg.Dir, "staging")); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool {
		return !strings.HasPrefix(e.Name(), "snapshot-") // the device's own exports
	}) {
		d.t.Errorf("left in staging: %v, %v", left, err)
	}
	return res
}

// outcomes are the names of a file's locations and what became of them; of one refused, the code.
func outcomes(res node.ImportResult) []string {
	out := []string{}
	for _, l := range res.Locations {
		s := l.Location.Device + ":" + l.Location.Name + " " + l.Outcome
		if l.Problem != nil {
			s += " " + string(l.Problem.Code)
		}
		out = append(out, s)
	}
	if res.Problem != nil {
		out = append(out, string(res.Problem.Code)+": "+res.Problem.Title)
	}
	slices.Sort(out)
	return out
}

func (d *device) expect(file []byte, want ...string) node.ImportResult {
	d.t.Helper()
	res := d.imports(file)
	if diff := cmp.Diff(want, outcomes(res)); diff != "" {
		d.t.Errorf("%s (-want +got):\n%s\n%+v", d.cfg.DeviceName, diff, res)
	}
	return res
}

// named makes a folder of a given name with files.
func named(t *testing.T, name string, files ...string) string {
	t.Helper()
	return filepath.Join(tree(t, prefixed(name+"/", files)...), name)
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// TestExportIsCarried carries what nas indexed to laptop, which never was connected to nas since, and from there on to
// a third device, by the network and by hand.
func TestExportIsCarried(t *testing.T) {
	nas, laptop, third := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "third")
	nas.pairWith(laptop)
	eventually(t, "third is paired", func() bool { return len(laptop.members()) == 2 })
	laptop.pairWith(third)
	laptop.stop()
	third.stop()
	photos, films := nas.add(named(t, "photos", "a/one.jpg", "b/")), nas.add(named(t, "films", "two.mkv"))
	all, one := nas.export("nas"), nas.export("films")
	nas.stop()

	laptop.start()
	if found := laptop.find("one.jpg"); len(found) > 0 {
		t.Fatalf("known before: %q", found)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := laptop.Events(ctx)
	res := laptop.expect(all, "nas:films imported", "nas:photos imported")
	if res.Bytes != int64(len(all)) {
		t.Errorf("read %d of %d bytes", res.Bytes, len(all))
	}
	seen := map[index.Location]bool{}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == api.EventLocationUpdated {
			seen[e.Location.Ref()] = true
		}
		if seen[photos.Ref()] && seen[films.Ref()] {
			break
		}
	}
	for _, want := range []node.Location{photos, films} {
		got := laptop.known(want)
		if !got.Newest() || got.Seq != want.Seq || got.Entries != want.Entries || !got.AsOf.Equal(want.AsOf) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if found := laptop.find("one.jpg"); len(found) != 1 || !strings.HasPrefix(found[0], "nas:") {
		t.Errorf("found %q", found)
	}
	laptop.expect(all, "nas:films held", "nas:photos held")
	laptop.expect(one, "nas:films held")

	// The third hears from laptop that it holds them, though nas is off; and takes what laptop exports.
	third.start()
	eventually(t, "third has all from laptop", func() bool {
		return third.known(photos).Seq == photos.Seq && third.known(films).Seq == films.Seq
	})
	third.stop()
	relayed := laptop.export("nas:")
	laptop.stop()
	third.start()
	third.expect(relayed, "nas:films held", "nas:photos held")

	// When nas is back it goes on as before: what left it by hand was no surprise.
	nas.start()
	laptop.start()
	grow(t, photos.Root, "a/three.jpg")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{Location: "photos"}); err != nil {
		t.Fatal(err)
	}
	laptop.holds(nas, photos)
	third.holds(nas, photos)
	if now := nas.own("photos"); now.Epoch != photos.Epoch {
		t.Errorf("a new epoch: %s, before %s", now.Epoch, photos.Epoch)
	}
	laptop.expect(all, "nas:films held", "nas:photos held")
}

func (d *device) members() []node.Device {
	d.t.Helper()
	all, err := d.Devices(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// known is what a device knows of another's location, zero if nothing.
func (d *device) known(l node.Location) node.Location {
	d.t.Helper()
	all, err := d.Locations(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, x := range all {
		if x.Ref() == l.Ref() {
			return x
		}
	}
	return node.Location{}
}

// TestExportIsRemembered exports a state that no device ever saw, with and without a running node. It must be remembered
// as one that left the device: else, coming back from another, it would be taken for the work of a copy of this one.
func TestExportIsRemembered(t *testing.T) {
	for _, running := range []bool{true, false} {
		nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
		l := nas.add(named(t, "photos", "one.jpg"))
		nas.pairWith(laptop)
		laptop.holds(nas, l)
		laptop.stop()
		grow(t, l.Root, "two.jpg")
		if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if running {
			file.Write(nas.export("photos"))
		}
		nas.stop()
		if !running {
			r, err := node.OpenReader(nas.cfg.Dir)
			if err == nil {
				err = errors.Join(r.Export(t.Context(), node.ExportRequest{Of: "photos"}, &file), r.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		laptop.start()
		laptop.expect(file.Bytes(), "nas:photos imported")
		grow(t, l.Root, "three.jpg")
		nas.start()
		if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
			t.Fatal(err)
		}
		laptop.holds(nas, l)
		if now := nas.own("photos"); now.Epoch != l.Epoch {
			t.Errorf("running %v: a new epoch: %s, before %s", running, now.Epoch, l.Epoch)
		}
	}
}

// forge makes a file of a device's locations again, each changed by f.
func forge(t *testing.T, file []byte, f func(m *archive.Manifest, parts []*forged)) []byte {
	t.Helper()
	r, err := archive.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := r.Manifest()
	var parts []*forged
	for l, err := range r.Locations() {
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(l)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, &forged{l.Head, l.Record, b})
	}
	f(&m, parts)
	var out bytes.Buffer
	w, err := archive.NewWriter(&out, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		raw, err := p.record.MarshalBinary()
		if err == nil {
			err = w.Add(&p.head, raw, int64(len(p.snapshot)), bytes.NewReader(p.snapshot))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type forged struct {
	head     index.SignedHead
	record   index.Record
	snapshot []byte
}

// sign signs a part anew, with the given key, as another location of that key's owner.
func (p *forged) sign(t *testing.T, m *archive.Manifest, i int, key ed25519.PrivateKey, id index.LocationID) {
	t.Helper()
	raw, err := p.record.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	p.head.Location.ID, p.head.Record = id, index.HashRecord(raw)
	copy(p.head.Location.Owner[:], key.Public().(ed25519.PublicKey))
	if p.head, err = index.SignHead(p.head.Head, key); err != nil {
		t.Fatal(err)
	}
	m.Locations[i] = p.head.Location
}

func (d *device) key() ed25519.PrivateKey {
	d.t.Helper()
	st, err := store.OpenReadOnly(d.cfg.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer st.Close()
	return st.Identity()
}

// TestBadLocationsOfAFile imports files in which one location is not what it should be: it is named and refused, and
// the other is imported.
func TestBadLocationsOfAFile(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	laptop.stop()
	a, b := nas.add(named(t, "alpha", "one.jpg")), nas.add(named(t, "beta", "two.jpg"))
	file := nas.export("nas")
	nas.stop()
	laptop.start()
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(m *archive.Manifest, p *forged)
		want   string
	}{
		{"a changed name", func(_ *archive.Manifest, p *forged) {
			p.snapshot = bytes.Replace(p.snapshot, []byte("one.jpg"), []byte("0ne.jpg"), 1)
		}, "nas:alpha refused failed"},
		{"no database", func(_ *archive.Manifest, p *forged) { p.snapshot = []byte("hello") }, "nas:alpha refused failed"},
		{"an endless one", func(_ *archive.Manifest, p *forged) { p.snapshot = make([]byte, 64<<20) }, "nas:alpha refused failed"},
		{"of a stranger", func(m *archive.Manifest, p *forged) {
			p.sign(t, m, 0, stranger, index.LocationID{1})
		}, "STRANGER:alpha refused denied"},
		{"of the importing device", func(m *archive.Manifest, p *forged) {
			p.sign(t, m, 0, laptop.key(), index.LocationID{1})
		}, "laptop:alpha own"},
		{"removed by its owner", func(m *archive.Manifest, p *forged) {
			p.record.Retired = index.Retired
			p.sign(t, m, 0, nas.key(), index.LocationID{1})
		}, "nas:alpha removed"},
	} {
		forgery := forge(t, file, func(m *archive.Manifest, parts []*forged) { tc.change(m, parts[0]) })
		res := laptop.imports(forgery)
		want := []string{tc.want, "nas:beta imported"}
		got := outcomes(res)
		if strings.HasPrefix(tc.want, "STRANGER") {
			var id index.DeviceID
			copy(id[:], stranger.Public().(ed25519.PublicKey))
			want[0] = id.Short() + strings.TrimPrefix(tc.want, "STRANGER")
		}
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
		if got := laptop.known(a); got.Seq != 0 || len(laptop.find("ne.jpg")) > 0 {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if len(laptop.find("two.jpg")) != 1 {
			t.Errorf("%s: beta is not there", tc.name)
		}
		laptop.forget(b)
	}
	laptop.expect(file, "nas:alpha imported", "nas:beta imported")
}

// forget drops a replica.
func (d *device) forget(l node.Location) {
	d.t.Helper()
	d.stop()
	st, err := store.Open(d.cfg.Dir)
	if err == nil {
		err = errors.Join(st.Drop(context.Background(), l.Ref()), st.Close())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.start()
}

// TestTwoStatesInFiles imports two states of one seq, which its owner can't both have signed honestly.
func TestTwoStatesInFiles(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	laptop.stop()
	l := nas.add(named(t, "alpha", "one.jpg"))
	file := nas.export("alpha")
	nas.stop()
	laptop.start()
	laptop.expect(file, "nas:alpha imported")
	other := forge(t, file, func(m *archive.Manifest, parts []*forged) {
		parts[0].head.Root[0] ^= 1
		parts[0].sign(t, m, 0, nas.key(), l.ID)
	})
	res := laptop.expect(other, "nas:alpha refused failed")
	if got := laptop.known(l); got.State != api.StateFrozen || !strings.Contains(res.Locations[0].Problem.Detail, "cannot both be true") {
		t.Errorf("%+v, %+v", got, res)
	}
	laptop.expect(file, "nas:alpha refused failed")

	// A later "as of" of the same state moves it alone; what is frozen is thawed by a higher epoch only.
	later := forge(t, file, func(m *archive.Manifest, parts []*forged) {
		parts[0].head.Epoch.Counter++
		parts[0].sign(t, m, 0, nas.key(), l.ID)
	})
	laptop.expect(later, "nas:alpha imported")
	latest := forge(t, later, func(m *archive.Manifest, parts []*forged) {
		parts[0].head.AsOf += 1e9
		parts[0].snapshot = []byte("not needed")
		parts[0].sign(t, m, 0, nas.key(), l.ID)
	})
	laptop.expect(latest, "nas:alpha imported")
	if got := laptop.known(l); !got.Newest() || got.AsOf.Sub(l.AsOf).Seconds() != 1 {
		t.Errorf("%+v", got)
	}
	laptop.expect(later, "nas:alpha held")
}

// TestBadFiles imports what is no export, or not a whole one.
func TestBadFiles(t *testing.T) {
	nas, laptop, third := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "third")
	nas.pairWith(laptop)
	laptop.stop()
	for _, name := range []string{"alpha", "beta"} {
		nas.add(named(t, name, "one.jpg"))
	}
	file := nas.export("nas")
	laptop.start()
	nas.stop()
	for _, tc := range []struct {
		name string
		file []byte
		code api.Code
	}{
		{"nothing", nil, api.CodeFailed},
		{"text", []byte("these are no photos"), api.CodeUsage},
		{"cut in the manifest", file[:50], api.CodeFailed},
	} {
		if res, err := laptop.Import(t.Context(), bytes.NewReader(tc.file)); code(err) != tc.code || len(res.Locations) > 0 {
			t.Errorf("%s: %v, %+v", tc.name, err, res)
		}
	}
	if _, err := third.Import(t.Context(), bytes.NewReader(file)); code(err) != api.CodeDenied {
		t.Errorf("another library: %v", err)
	}
	res := laptop.imports(file[:len(file)-30])
	if len(res.Locations) == 0 || res.Problem == nil || res.Problem.Title != archive.ErrTruncated.Error() {
		t.Errorf("cut: %+v", res)
	}
	res = laptop.imports(append(slices.Clone(file), "and more"...))
	if len(res.Locations) != 2 || res.Problem == nil || res.Problem.Title != archive.ErrDamaged.Error() {
		t.Errorf("extended: %+v", res)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := laptop.Import(ctx, bytes.NewReader(file)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	laptop.stop()
	if _, err := laptop.Import(t.Context(), bytes.NewReader(file)); err == nil {
		t.Error("a closed node imports")
	}
	if err := laptop.Export(t.Context(), node.ExportRequest{Of: "laptop"}, io.Discard); err == nil {
		t.Error("a closed node exports")
	}
	laptop.start()
}

// TestWhatIsExported names devices and locations in every way.
func TestWhatIsExported(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	photos, own := nas.add(named(t, "photos", "a")), laptop.add(named(t, "photos", "b"))
	same := laptop.add(named(t, "nas", "c"))
	laptop.holds(nas, photos)
	device := laptop.members()[1]
	for _, tc := range []struct {
		of   string
		want []index.Location // nil: refused
		code api.Code
	}{
		{of: "laptop", want: []index.Location{same.Ref(), own.Ref()}},
		{of: "lap", want: []index.Location{same.Ref(), own.Ref()}},
		{of: "nas:", want: []index.Location{photos.Ref()}},
		{of: device.ID.String(), want: []index.Location{photos.Ref()}},
		{of: device.Short, want: []index.Location{photos.Ref()}},
		{of: "nas:photos", want: []index.Location{photos.Ref()}},
		{of: "laptop:nas", want: []index.Location{same.Ref()}},
		{of: photos.ID.String(), want: []index.Location{photos.Ref()}},
		{of: photos.Root, want: []index.Location{photos.Ref()}},
		{of: own.Root + "/", want: []index.Location{own.Ref()}},
		{of: "", code: api.CodeUsage},
		{of: "nas", code: api.CodeUsage},    // a device and a location
		{of: "photos", code: api.CodeUsage}, // of two devices
		{of: "nosuch", code: api.CodeNotFound},
		{of: "nosuch:", code: api.CodeNotFound},
		{of: "nas:nosuch", code: api.CodeNotFound},
		{of: ":", code: api.CodeNotFound},
	} {
		var b bytes.Buffer
		err := laptop.Export(t.Context(), node.ExportRequest{Of: tc.of}, &b)
		if tc.want == nil {
			if code(err) != tc.code || b.Len() > 0 {
				t.Errorf("%q: %v, %d bytes", tc.of, err, b.Len())
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.of, err)
			continue
		}
		r, err := archive.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tc.want, r.Manifest().Locations); d != "" {
			t.Errorf("%q (-want +got):\n%s", tc.of, d)
		}
		r.Close()
	}
	full := errors.New("no space left")
	if err := laptop.Export(t.Context(), node.ExportRequest{Of: "laptop"}, brokenWriter{full}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }
