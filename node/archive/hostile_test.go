package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/peerdex/peerdex/index"
)

// squeeze makes a frame of each piece.
func squeeze(tb testing.TB, opts []zstd.EOption, pieces ...[]byte) []byte {
	tb.Helper()
	zw, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	defer zw.Close()
	var b bytes.Buffer
	for _, p := range pieces {
		zw.Reset(&b)
		if _, err := zw.Write(p); err != nil {
			tb.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

func tarMember(tb testing.TB, name string, content []byte) []byte {
	tb.Helper()
	h, err := header(name, int64(len(content)))
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Concat(h, content, make([]byte, padding(int64(len(content)))))
}

func manifestMember(tb testing.TB, format int, m Manifest) []byte {
	tb.Helper()
	b, err := json.Marshal(manifestJSON{format, m})
	if err != nil {
		tb.Fatal(err)
	}
	return tarMember(tb, manifestName, b)
}

func (p *part) members(tb testing.TB, i int) []byte {
	tb.Helper()
	h, _ := p.head.MarshalBinary()
	return slices.Concat(tarMember(tb, headName(i), append(h, p.record...)), tarMember(tb, snapshotName(i), p.snapshot))
}

func TestManifests(t *testing.T) {
	p := makePart(t, 1, []byte("x"))
	ref := p.head.Location.String()
	rest := squeeze(t, nil, p.members(t, 0), make([]byte, endSize))
	for name, tc := range map[string]struct{ manifest, want string }{
		"good":           {`{"format":1,"library":"LIB","locations":["REF"]}`, ""},
		"newer":          {`{"format":2,"library":"LIB","places":{"REF":1}}`, "newer"},
		"format 0":       {`{"library":"LIB","locations":["REF"]}`, "format"},
		"no JSON":        {`hello`, "format"},
		"unknown field":  {`{"format":1,"library":"LIB","locations":["REF"],"x":1}`, "damaged"},
		"no locations":   {`{"format":1,"library":"LIB","locations":[]}`, "damaged"},
		"null":           {`{"format":1,"library":"LIB","locations":null}`, "damaged"},
		"twice":          {`{"format":1,"library":"LIB","locations":["REF","REF"]}`, "damaged"},
		"twice in caps":  {`{"format":1,"library":"LIB","locations":["REF","` + strings.ToUpper(ref) + `"]}`, "damaged"},
		"short library":  {`{"format":1,"library":"ab","locations":["REF"]}`, "damaged"},
		"path":           {`{"format":1,"library":"LIB","locations":["../../etc/passwd"]}`, "damaged"},
		"too many":       {`{"format":1,"library":"LIB","locations":[` + manyRefs(MaxLocations+1) + `]}`, "damaged"},
		"deep":           {`{"format":1,"library":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "format"},
		"other library":  {`{"format":1,"library":"` + strings.Repeat("0", 64) + `","locations":["REF"]}`, "location damaged"},
		"other location": {`{"format":1,"library":"LIB","locations":["` + manyRefs(1)[1:98] + `"]}`, "location damaged"},
	} {
		m := strings.NewReplacer("LIB", testLibrary.String(), "REF", ref).Replace(tc.manifest)
		got, err := read(bytes.NewReader(append(squeeze(t, nil, tarMember(t, manifestName, []byte(m))), rest...)))
		if want, ok := strings.CutPrefix(tc.want, "location "); ok {
			if err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		} else if kind(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyRefs(n int) string {
	refs := make([]string, n)
	for i := range refs {
		refs[i] = fmt.Sprintf(`"%s"`, index.Location{ID: index.LocationID{byte(i), byte(i >> 8), 1}})
	}
	return strings.Join(refs, ",")
}

// TestHostile reads files that no export writes: each must end in the error that says what is wrong.
func TestHostile(t *testing.T) {
	parts := samples(t)
	good := pack(t, parts)
	one := parts[0]
	manifest := manifestMember(t, Format, manifestOf(parts[:1]))
	members := one.members(t, 0)
	end := make([]byte, endSize)
	whole := squeeze(t, nil, manifest, members, end)
	huge, err := header(manifestName, maxManifest+1)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(p *part)) []byte {
		p := makePart(t, 1, one.snapshot)
		change(&p)
		return squeeze(t, nil, manifest, p.members(t, 0), end)
	}
	nonzero := slices.Clone(members)
	nonzero[len(nonzero)-1] = 1
	renamed := bytes.Replace(members, []byte("location-1.db"), []byte("../../evil.db"), 1)
	for name, tc := range map[string]struct {
		file []byte
		end  string   // how the file ends
		got  []string // what became of the locations
	}{
		"whole":                    {whole, "", wholeSample[:1]},
		"empty":                    {nil, "truncated", nil},
		"text":                     {[]byte("peerdex was here\n"), "format", nil},
		"text of two letters":      {[]byte("hi"), "truncated", nil},
		"SQLite":                   {append([]byte("SQLite format 3\x00"), make([]byte, 4096)...), "format", nil},
		"zeros":                    {make([]byte, 100_000), "format", nil},
		"another tar.zst":          {squeeze(t, nil, tarMember(t, "etc/passwd", []byte("root"))), "format", nil},
		"zstd of text":             {squeeze(t, nil, []byte("hello")), "format", nil},
		"skippable frame first":    {append([]byte{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}, whole...), "format", nil},
		"no checksums":             {squeeze(t, []zstd.EOption{zstd.WithEncoderCRC(false)}, manifest, members, end), "format", nil},
		"one frame for all":        {squeeze(t, nil, slices.Concat(manifest, members, end)), "damaged", nil},
		"window of 16 MiB":         {squeeze(t, []zstd.EOption{zstd.WithWindowSize(16 << 20)}, slices.Concat(manifest, make([]byte, 32<<20))), "format", nil},
		"window of 2 GiB":          {[]byte{0x28, 0xB5, 0x2F, 0xFD, 0x04, 0xA8, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "format", nil},
		"huge manifest":            {squeeze(t, nil, append(huge, make([]byte, 2*maxManifest)...)), "format", nil},
		"manifest and more":        {squeeze(t, nil, append(slices.Clone(manifest), 0), members, end), "damaged", nil},
		"no end":                   {squeeze(t, nil, manifest, members), "truncated", wholeSample[:1]},
		"no locations":             {squeeze(t, nil, manifest), "truncated", nil},
		"end instead of locations": {squeeze(t, nil, manifest, end), "truncated", []string{"damaged"}},
		"short end":                {squeeze(t, nil, manifest, members, end[1:]), "damaged", wholeSample[:1]},
		"long end":                 {squeeze(t, nil, manifest, members, append(end, 0)), "damaged", wholeSample[:1]},
		"end of ones":              {squeeze(t, nil, manifest, members, bytes.Repeat([]byte{1}, endSize)), "damaged", wholeSample[:1]},
		"location twice":           {squeeze(t, nil, manifest, members, members, end), "damaged", wholeSample[:1]},
		"extended by a letter":     {append(slices.Clone(whole), 'x'), "damaged", wholeSample[:1]},
		"extended by text":         {append(slices.Clone(whole), "and this is more than that"...), "damaged", wholeSample[:1]},
		"extended by a frame":      {append(slices.Clone(whole), squeeze(t, nil, nil, end)...), "damaged", wholeSample[:1]},
		"extended by skippable":    {append(slices.Clone(whole), 0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4), "damaged", wholeSample[:1]},
		"padding of ones":          {squeeze(t, nil, manifest, nonzero, end), "", []string{"damaged"}},
		"more in the frame":        {squeeze(t, nil, manifest, append(slices.Clone(members), make([]byte, block)...), end), "", []string{"damaged"}},
		"less in the frame":        {squeeze(t, nil, manifest, members[:len(members)-1], end), "", []string{"damaged"}},
		"a path as a name":         {squeeze(t, nil, manifest, renamed, end), "", []string{"damaged"}},
		"signature":                {with(func(p *part) { p.head.Signature[3] ^= 1 }), "", []string{"signature"}},
		"head of another":          {with(func(p *part) { p.head = parts[1].head }), "", []string{"damaged"}},
		"record of another":        {with(func(p *part) { p.record = parts[1].record }), "", []string{"damaged"}},
		"no record":                {with(func(p *part) { p.record = nil }), "", []string{"damaged"}},
		"long record":              {with(func(p *part) { p.record = make([]byte, 2<<20) }), "", []string{"damaged"}},
		"cut in the last":          {good[:len(good)-100_000], "truncated", []string{wholeSample[0], wholeSample[1], "truncated"}},
	} {
		got, err := read(bytes.NewReader(tc.file))
		if kind(err) != tc.end || !slices.Equal(got, tc.got) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, tc.got, tc.end)
		}
	}
}

// TestOneDamagedLocation changes bytes in the middle of the last location of three, put in the first place: the others
// must be whole.
func TestOneDamagedLocation(t *testing.T) {
	parts := samples(t)
	slices.Reverse(parts)
	good := pack(t, parts)
	for _, at := range []int{60_000, 200_000, 500_000} {
		b := slices.Clone(good)
		for i := range 8 {
			b[at+i] ^= 0x55
		}
		got, err := read(bytes.NewReader(b))
		if want := []string{"damaged", wholeSample[1], wholeSample[0]}; err != nil || !slices.Equal(got, want) {
			t.Errorf("at %d: %q, %v", at, got, err)
		}
	}
}

// TestEveryCut cuts a file after every byte, and changes every byte: nothing is ever taken for whole but what was not
// touched.
func TestEveryCut(t *testing.T) {
	parts := samples(t)[:2]
	good := pack(t, parts)
	for n := range good {
		if got, err := read(bytes.NewReader(good[:n])); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("cut after %d of %d: %q", n, len(good), got)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range good {
		b := slices.Clone(good)
		b[n] ^= byte(1 + rng.IntN(255))
		got, err := read(bytes.NewReader(b))
		if err == nil && slices.Equal(got, wholeSample[:2]) {
			// Zstandard has bits that mean nothing; what comes out must be the same then, and is: names and sizes.
			if !sameContent(t, b, parts) {
				t.Fatalf("byte %d: another content is taken for whole", n)
			}
		}
	}
}

func sameContent(t *testing.T, b []byte, parts []part) bool {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return false
	}
	defer r.Close()
	i := 0
	for l, err := range r.Locations() {
		if err != nil {
			return false
		}
		got, err := io.ReadAll(l)
		if err != nil || !bytes.Equal(got, parts[i].snapshot) || l.Head != parts[i].head || !bytes.Equal(l.Raw, parts[i].record) {
			return false
		}
		i++
	}
	return true
}

// TestBadSource makes the underlying reader fail: its error comes out, and is not blamed on the file.
func TestBadSource(t *testing.T) {
	good := pack(t, samples(t))
	bad := errors.New("the stick was pulled out")
	for _, n := range []int{0, 3, 100, 1000, 100_000, len(good) - 1} {
		_, err := read(io.MultiReader(bytes.NewReader(good[:n]), failing{bad}))
		if !errors.Is(err, bad) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrTruncated) {
			t.Errorf("after %d: %v", n, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzRead reads whatever comes. What is whole must be writable again, and come out the same.
func FuzzRead(f *testing.F) {
	parts := samples(f)
	f.Add(pack(f, parts[:2]))
	f.Add(pack(f, parts[:1]))
	f.Add(squeeze(f, nil, manifestMember(f, 2, manifestOf(parts))))
	f.Fuzz(func(t *testing.T, b []byte) { again(t, b) })
}

// FuzzFrames is [FuzzRead] behind the compression.
func FuzzFrames(f *testing.F) {
	p := makePart(f, 1, []byte("snapshot"))
	f.Add(manifestMember(f, Format, manifestOf([]part{p})), p.members(f, 0), make([]byte, endSize))
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, manifest, location, end []byte) {
		again(t, squeeze(t, nil, manifest, location, end))
	})
}

func again(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		if k := kind(err); strings.HasPrefix(k, "another") {
			t.Fatal(k)
		}
		return
	}
	defer r.Close()
	var parts []part
	for l, err := range r.Locations() {
		if l == nil {
			return
		}
		if len(parts) > len(r.Manifest().Locations) {
			t.Fatal("more locations than the manifest lists")
		}
		if err != nil {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(l, 1<<22))
		if err == nil && int64(len(content)) == l.Size {
			parts = append(parts, part{l.Head, l.Raw, content})
		}
	}
	if len(parts) < len(r.Manifest().Locations) {
		return
	}
	got, err := read(bytes.NewReader(pack(t, parts)))
	if err != nil || len(got) != len(parts) {
		t.Fatalf("written again: %q, %v", got, err)
	}
}
