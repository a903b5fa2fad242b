package query

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
)

// testNow is a Saturday in a zone with summer time, one week before it begins.
func testNow(t testing.TB) time.Time {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 3, 21, 15, 30, 0, 500, zone)
}

func mustParse(t testing.TB, text string) Query {
	t.Helper()
	q, err := Parse(text, testNow(t))
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return q
}

// TestNames is the table of what a query says about names alone.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		query   string
		matches []string
		not     []string
	}{
		{"report", []string{"report", "Report.pdf", "my REPORT"}, []string{"repor", "re port", ""}},
		{"Report", []string{"Report.pdf", "xReportx"}, []string{"report", "REPORT"}},
		{"report 2026", []string{"2026-report", "Report2026"}, []string{"report", "2026"}},
		{"report\u3000\t2026\n", []string{"2026-report"}, []string{"report"}},
		{`"annual report"`, []string{"Annual Report"}, []string{"annual  report", "report annual"}},
		{`annual" "report`, []string{"Annual Report"}, []string{"annual", "annualreport"}},
		{"report -draft", []string{"report"}, []string{"report Draft", "draft"}},
		{"report !draft", []string{"report"}, []string{"report draft"}},
		{"-draft", []string{"", "x"}, []string{"draft"}},
		{"--x", []string{"", "x"}, []string{"a-x"}},
		{`"-draft"`, []string{"a-draft"}, []string{"draft"}},
		{"- a", []string{"a-b"}, []string{"ab"}},
		{"a-b!", []string{"A-b!"}, []string{"ab"}},

		{"IMG_*.jpg", []string{"IMG_1.jpg", "IMG_.jpg"}, []string{"img_1.jpg", "IMG_1.jpg.bak", "xIMG_1.jpg", "IMG-1.jpg"}},
		{"img_*.jpg", []string{"IMG_1.JPG", "img_日.jpg"}, []string{"img_1.jpeg"}},
		{"chapter-??", []string{"Chapter-01", "chapter-é日"}, []string{"chapter-1", "chapter-123"}},
		{"?", []string{"a", "é", "\xff"}, []string{"", "ab"}},
		{"*??", []string{"日本", "ab", "xab", "\xff\xfe"}, []string{"日", "a", ""}},
		{"*??xy", []string{"日本xy", "axxy"}, []string{"日xy", "axy"}},
		{"*a*b*c", []string{"abc", "xxaxxbxxc", "abcbc"}, []string{"abcx", "acb"}},
		{"**", []string{"", "a"}, nil},
		{`"*"`, []string{"a*b"}, []string{"ab"}},
		{`a"*"*`, []string{"a*b"}, []string{"ab"}},
		{"-*.tmp", []string{"a"}, []string{"a.tmp", "A.TMP"}},

		{"100%", []string{"100%.txt"}, []string{"1000"}},
		{"a_b", []string{"a_b"}, []string{"axb"}},
		{"[a]", []string{"a", "A"}, []string{"x[a]", "b", "aa"}},
		{`"[a]"`, []string{"x[a]"}, []string{"a"}},
		{"a[b", []string{"xa[b"}, []string{"ab"}},
		{"img[0-9].jpg", []string{"img7.jpg", "IMG0.JPG"}, []string{"img.jpg", "img10.jpg", "imga.jpg"}},
		{"[a-c]*", []string{"a", "Bx", "C"}, []string{"d", "", "-"}},
		{"[A-C]*", []string{"A", "Bx"}, []string{"a", "b"}},
		{"[!a-c]x", []string{"dx", "-x", "日x", "\xffx"}, []string{"ax", "Cx", "x"}},
		{"[^a]", []string{"b"}, []string{"a", "A"}},
		{"[]a]", []string{"]", "a"}, []string{"[]a]", "b"}},
		{"[!]a]", []string{"b"}, []string{"]", "a"}},
		{"[a-]", []string{"a", "-"}, []string{"b"}},
		{"[-a]", []string{"a", "-"}, []string{"b"}},
		{`["a-c"]`, []string{"a", "-", "c"}, []string{"b"}},
		{`["]!"]`, []string{"]", "!"}, []string{"a"}},
		{"[ä-ü]", []string{"ö", "Ö"}, []string{"o"}},
		{"[о-я]*", []string{"Отчёт", "яма"}, []string{"а"}},
		{"[\xff]", []string{"\xff"}, []string{"\xfe", "ÿ"}},
		{"[]", []string{"a[]b"}, []string{"a"}},
		{"name:report,invoice", []string{"Report", "my invoice"}, []string{"repor"}},
		{"name:report name:2026", []string{"Report-2026"}, []string{"report", "2026"}},
		{"name:*.jpg,a", []string{"x.JPG", "bab"}, []string{"x.png"}},
		{"-name:a", []string{"b"}, []string{"cab"}},
		{"kind:image", []string{"a.jpg", "b.HEIC"}, []string{"a.mp4", "jpg"}},
		{"kind:IMAGE,video kind:audio", []string{"a.jpg", "a.mp4", "a.flac"}, []string{"a.pdf"}},
		{"-kind:image", []string{"a.pdf"}, []string{"a.png"}},
		{`a\b`, []string{`a\b`}, []string{"ab"}},
		{`"a\"b\\c\d"`, []string{`a"b\c\d`}, []string{"ab"}},
		{"12:30", []string{"12:30"}, []string{"1230"}},
		{"c:x", []string{"c:x"}, nil},
		{"File::Find", []string{"File::Find.3pm"}, []string{"file::find"}},
		{`"foo:bar"`, []string{"foo:bar"}, nil},
		{`f"oo":bar`, []string{"foo:bar"}, nil},
		{`"a|b"`, []string{"a|b"}, nil},
		{`"(1)"`, []string{"x (1).pdf"}, []string{"1"}},
		{"x(1)", []string{"x(1).pdf"}, []string{"1"}},

		{"größe", []string{"Größe", "GRÖẞE", "größe"}, []string{"grösse", "Gro\u0308ße"}},
		{"отчёт", []string{"ОТЧЁТ.doc", "отчёт"}, []string{"отчет"}},
		{"Отчёт", []string{"Отчёт"}, []string{"отчёт", "ОТЧЁТ"}},
		{"σίσυφος", []string{"ΣΊΣΥΦΟΣ"}, nil},
		{"日本", []string{"東日本"}, []string{"日"}},
		{"k", []string{"K", "k"}, []string{"\u212a"}},
		{"s", []string{"S"}, []string{"\u017f"}},
		{"\u212a", []string{"\u212a"}, []string{"k", "K"}},
		{"å", []string{"Å", "\u212b"}, []string{"a"}},
		{"caf", []string{"caf\xe9", "CAF\xc3"}, []string{"ca\xfff"}},
		{"caf\xe9", []string{"Caf\xe9.txt"}, []string{"caf\u00e9"}},
		{"\xe9", []string{"caf\xe9"}, []string{"cafe"}},

		{"ext:jpg", []string{"a.jpg", "a.JPG", "a.b.jpg"}, []string{"a.jpeg", ".jpg", "jpg", "a.jpg.", "a.xjpg"}},
		{"EXT:.JPG", []string{"a.jpg"}, []string{"a.png"}},
		{"ext:jpg,png", []string{"a.jpg", "a.png"}, []string{"a.gif"}},
		{"ext:jpg ext:png", []string{"a.jpg", "a.png"}, []string{"a.gif"}},
		{"-ext:jpg -ext:png", []string{"a.gif", ".jpg"}, []string{"a.jpg", "a.png"}},
		{"-ext:jpg,png", []string{"a.gif", ""}, []string{"a.jpg", "a.png"}},
		{"ext:jpg -ext:jpg", nil, []string{"a.jpg", "a.png"}},
		{"ext:tar.gz", []string{"a.tar.gz"}, []string{"a.gz", "tar.gz", ".tar.gz"}},
		{"ext:", []string{"Makefile", ".bashrc", "a.", "..", ""}, []string{"a.b", ".a.b", "..b"}},
		{"ext:,md", []string{"Makefile", "a.md"}, []string{"a.b"}},
		{"ext:\"c++\"", []string{"a.c++"}, []string{"a.c"}},
		{"ext:Ä", []string{"a.ä"}, []string{"a.a"}},
		{`"ext:jpg"`, []string{"ext:jpg"}, []string{"a.jpg"}},
	} {
		q := mustParse(t, c.query)
		for _, name := range c.matches {
			if !q.Match(&index.Entry{Name: name, Kind: index.KindFile}) {
				t.Errorf("%s does not match %q", c.query, name)
			}
		}
		for _, name := range c.not {
			if q.Match(&index.Entry{Name: name, Kind: index.KindFile}) {
				t.Errorf("%s matches %q", c.query, name)
			}
		}
		if again := mustParse(t, q.String()); again.String() != q.String() {
			t.Errorf("%s: written as %s, read as %s", c.query, q, again)
		}
	}
}

// TestSizes gives for each query the sizes of files at both ends of what it finds; -1 means no such end.
func TestSizes(t *testing.T) {
	const k, m, g = 1 << 10, 1 << 20, 1 << 30
	for _, c := range []struct {
		query  string
		lo, hi int64
	}{
		{"size:0", 0, 0},
		{"size:1048576", m, m},
		{"size:10B", 10, 10},
		{"size:1M", m, 2*m - 1},
		{"size:=1M", m, m},
		{"size:1.5G", g + g/2, 16*g/10 - 1},
		{"size:1.5g", g + g/2, 16*g/10 - 1},
		{"size:1kb", k, 2*k - 1},
		{"size:1KiB", k, 2*k - 1},
		{"size:>1M", m + 1, -1},
		{"size:>=1MB", m, -1},
		{"size:<1M", 0, m - 1},
		{"size:<=1M", 0, m},
		{"size:10M..1G", 10 * m, g},
		{"size:10M..", 10 * m, -1},
		{"size:..1G", 0, g},
		{"size:1M..1M", m, m},
		{"size:>1M size:<2M", m + 1, 2*m - 1},
		{"size:>8191P", 8191<<50 + 1, -1},
		{"size:>9999999P", math.MaxInt64, -1},
		{"size:>=9999999P", math.MaxInt64, -1},
		{"size:<99999999999999999999999", 0, math.MaxInt64 - 1},
		{"size:9000P", math.MaxInt64, -1},
		{"size:0.00001K", 0, 0},
	} {
		q := mustParse(t, c.query)
		hi := c.hi
		if hi < 0 {
			hi = math.MaxInt64
		}
		check := func(size int64, want bool) {
			t.Helper()
			if got := q.Match(&index.Entry{Name: "a", Kind: index.KindFile, Size: size}); got != want {
				t.Errorf("%s: size %d: %v", c.query, size, got)
			}
		}
		check(c.lo, true)
		check(hi, true)
		if c.lo > 0 {
			check(c.lo-1, false)
		}
		if hi < math.MaxInt64 {
			check(hi+1, false)
		}
		if q.Match(&index.Entry{Name: "a", Kind: index.KindDir, Size: c.lo}) {
			t.Errorf("%s matches a folder", c.query)
		}
	}
	q := mustParse(t, "size:0,10M..1G")
	for size, want := range map[int64]bool{0: true, 1: false, 10 * m: true, 2 * g: false} {
		if got := q.Match(&index.Entry{Kind: index.KindFile, Size: size}); got != want {
			t.Errorf("%v: size %d: %v", q, size, got)
		}
	}
	if q := mustParse(t, "-size:>1M"); !q.Match(&index.Entry{Kind: index.KindDir, Size: 5 * m}) {
		t.Error("-size:>1M does not match a folder")
	}
}

// TestTimes gives for each query the first and the last time that it finds; "" means that there is no such end.
func TestTimes(t *testing.T) {
	now := testNow(t)
	for _, c := range []struct{ query, from, to string }{
		{"modified:2026", "2026-01-01T00:00:00+01:00", "2026-12-31T23:59:59.999999999+01:00"},
		{"modified:2026-03", "2026-03-01T00:00:00+01:00", "2026-03-31T23:59:59.999999999+02:00"},
		{"modified:2026-03-09", "2026-03-09T00:00:00+01:00", "2026-03-09T23:59:59.999999999+01:00"},
		{"modified:2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-29T23:59:59.999999999+02:00"},
		{"modified:2026-03-09T10", "2026-03-09T10:00:00+01:00", "2026-03-09T10:59:59.999999999+01:00"},
		{"modified:2026-03-09t10:00", "2026-03-09T10:00:00+01:00", "2026-03-09T10:00:59.999999999+01:00"},
		{"modified:2026-03-09T10:00:30", "2026-03-09T10:00:30+01:00", "2026-03-09T10:00:30.999999999+01:00"},
		{"modified:2026-03-09T10:00:30.5Z", "2026-03-09T10:00:30.5Z", "2026-03-09T10:00:30.5Z"},
		{"modified:2026-03-09T10z", "2026-03-09T10:00:00Z", "2026-03-09T10:59:59.999999999Z"},
		{"modified:2026-03-09T10:00-05:00", "2026-03-09T15:00:00Z", "2026-03-09T15:00:59.999999999Z"},
		{"modified:2024-02-29", "2024-02-29T00:00:00+01:00", "2024-02-29T23:59:59.999999999+01:00"},
		{"modified:today", "2026-03-21T00:00:00+01:00", "2026-03-21T23:59:59.999999999+01:00"},
		{"Modified:Yesterday", "2026-03-20T00:00:00+01:00", "2026-03-20T23:59:59.999999999+01:00"},

		{"modified:>2026-03", "2026-04-01T00:00:00+02:00", ""},
		{"modified:>=2026-03", "2026-03-01T00:00:00+01:00", ""},
		{"modified:<2026-03", "", "2026-02-28T23:59:59.999999999+01:00"},
		{"modified:<=2026-03", "", "2026-03-31T23:59:59.999999999+02:00"},
		{"modified:=2026-03-09", "2026-03-09T00:00:00+01:00", "2026-03-09T23:59:59.999999999+01:00"},
		{"modified:>yesterday", "2026-03-21T00:00:00+01:00", ""},

		{"modified:<7d", "2026-03-14T15:30:00.000000501+01:00", ""},
		{"modified:<=7d", "2026-03-14T15:30:00.0000005+01:00", ""},
		{"modified:>7d", "", "2026-03-14T15:30:00.000000499+01:00"},
		{"modified:>=1w", "", "2026-03-14T15:30:00.0000005+01:00"},
		{"modified:<90s", "2026-03-21T15:28:30.000000501+01:00", ""},
		{"modified:<5MIN", "2026-03-21T15:25:00.000000501+01:00", ""},
		{"modified:<2h", "2026-03-21T13:30:00.000000501+01:00", ""},
		{"modified:>1mo", "", "2026-02-21T15:30:00.000000499+01:00"},
		{"modified:>1y", "", "2025-03-21T15:30:00.000000499+01:00"},
		{"modified:<8mo", "2025-07-21T15:30:00.000000501+02:00", ""},

		{"modified:2026-01..2026-03", "2026-01-01T00:00:00+01:00", "2026-03-31T23:59:59.999999999+02:00"},
		{"modified:2025..", "2025-01-01T00:00:00+01:00", ""},
		{"modified:..yesterday", "", "2026-03-20T23:59:59.999999999+01:00"},
		{"modified:2w..1w", "2026-03-07T15:30:00.0000005+01:00", "2026-03-14T15:30:00.0000005+01:00"},
		{"modified:7d..today", "2026-03-14T15:30:00.0000005+01:00", "2026-03-21T23:59:59.999999999+01:00"},
		{"modified:>2025 modified:<2026-03", "2026-01-01T00:00:00+01:00", "2026-02-28T23:59:59.999999999+01:00"},

		{"modified:>=1500", "", ""},
		{"modified:<99999999999999999999y", "1677-09-21T00:12:43.145224193Z", ""},
		{"modified:>=2262", "2262-01-01T00:00:00+01:00", ""},
		{"modified:<1600", "", "1677-09-21T00:12:43.145224192Z"},
		{"modified:>9999", "2262-04-11T23:47:16.854775807Z", ""},
		{"modified:>=9999", "2262-04-11T23:47:16.854775807Z", ""},
	} {
		q := mustParse(t, c.query)
		check := func(ns int64, want bool) {
			t.Helper()
			if got := q.Match(&index.Entry{Name: "a", MTime: ns}); got != want {
				t.Errorf("%s: %v: %v", c.query, time.Unix(0, ns).In(now.Location()), got)
			}
		}
		from, to := int64(math.MinInt64), int64(math.MaxInt64)
		if c.from != "" {
			from = parseTime(t, c.from)
			check(from-1, false)
		}
		if c.to != "" {
			to = parseTime(t, c.to)
			check(to+1, false)
		}
		check(from, true)
		check(to, true)
		if again := mustParse(t, q.String()); again.String() != q.String() {
			t.Errorf("%s: written as %s, read as %s", c.query, q, again)
		}
	}
}

func parseTime(t *testing.T, s string) int64 {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v.UnixNano()
}

func TestMonthsAgoClamps(t *testing.T) {
	end := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	for n, want := range map[int64]string{0: "2026-03-31", 1: "2026-02-28", 25: "2024-02-29", 4: "2025-11-30"} {
		if got := monthsAgo(end, n).Format(time.DateOnly); got != want {
			t.Errorf("%d months before: %s, want %s", n, got, want)
		}
	}
}

func TestTypes(t *testing.T) {
	all := []index.Kind{index.KindFile, index.KindDir, index.KindSymlink, index.KindOther}
	for query, want := range map[string][]index.Kind{
		"type:f":             {index.KindFile},
		"type:File":          {index.KindFile},
		"type:d":             {index.KindDir},
		"type:dir":           {index.KindDir},
		"type:folder":        {index.KindDir},
		"type:l":             {index.KindSymlink},
		"type:link":          {index.KindSymlink},
		"type:symlink":       {index.KindSymlink},
		"type:o,other":       {index.KindOther},
		"type:f,d":           {index.KindFile, index.KindDir},
		"type:f type:d":      {index.KindFile, index.KindDir},
		"-type:f":            {index.KindDir, index.KindSymlink, index.KindOther},
		"type:f,d -type:d,l": {index.KindFile},
	} {
		q := mustParse(t, query)
		var got []index.Kind
		for _, k := range all {
			if q.Match(&index.Entry{Name: "a", Kind: k}) {
				got = append(got, k)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		query    string
		yes, not []string
	}{
		{"a", []string{"nas", ""}, nil},
		{"on:nas", []string{"nas", "NAS"}, []string{"nas2", "laptop"}},
		{"on:NAS,laptop", []string{"nas", "laptop"}, []string{"phone"}},
		{"on:nas on:laptop", []string{"nas", "laptop"}, []string{"phone"}},
		{"-on:nas", []string{"laptop"}, []string{"nas"}},
		{"-on:nas !on:laptop", []string{"phone"}, []string{"nas", "laptop"}},
		{"on:n* -on:nas2", []string{"nas", "n"}, []string{"nas2", "laptop"}},
		{`on:"my nas"`, []string{"My NAS"}, []string{"my"}},
		{`on:"a,b"`, []string{"a,b"}, []string{"a", "b"}},
	} {
		q := mustParse(t, c.query)
		for _, d := range c.yes {
			if !q.MatchesDevice(d) {
				t.Errorf("%s does not match %q", c.query, d)
			}
		}
		for _, d := range c.not {
			if q.MatchesDevice(d) {
				t.Errorf("%s matches %q", c.query, d)
			}
		}
		if again := mustParse(t, q.String()); again.String() != q.String() {
			t.Errorf("%s: written as %s, read as %s", c.query, q, again)
		}
	}
	q := mustParse(t, "on:nas -on:other")
	if !q.MatchesDevice("x", "nas") || q.MatchesDevice("nas", "other") {
		t.Error("several names of one device")
	}
	if diff := cmp.Diff([]string{"nas", "phone"}, mustParse(t, "on:Nas,n* -on:phone").Devices()); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "nothing to search for; try a part of a name, or an operator such as ext:pdf",
		"  \t ":                         "nothing to search for; try a part of a name, or an operator such as ext:pdf",
		"a foo:bar":                     "@2 foo:bar: no such operator; there are ext, kind, location, modified, name, on, path, size and type; put it in quotes to search for it as a word",
		"-dup:x":                        "@0 -dup:x: no such operator; there are ext, kind, location, modified, name, on, path, size and type; put it in quotes to search for it as a word",
		"Re:":                           "@0 Re:: no such operator; there are ext, kind, location, modified, name, on, path, size and type; put it in quotes to search for it as a word",
		`a "b c`:                        `@2 "b c: the quote is not closed; end it with "`,
		`a "" b`:                        `@2 "": nothing between the quotes`,
		"a | b":                         `@2 |: "|" has no meaning yet; put the word in quotes to search for it`,
		"(a b)":                         "@0 (a: parentheses have no meaning yet; put the word in quotes to search for it",
		"docs/":                         "@0 docs/: a path to search for ends with a name; path:docs finds what lies below docs, docs/* what is in it",
		"a\x00":                         "@0 a\x00: no name holds a slash or a NUL byte",
		"a/\x00":                        "@0 a/\x00: no name holds a slash or a NUL byte",
		"ext:a/b":                       "@0 ext:a/b: no name holds a slash or a NUL byte",
		"ext:jp*":                       "@0 ext:jp*: an extension can't hold *, ? or [ ]; name several, as in ext:jpg,jpeg",
		"ext:[j]pg":                     "@0 ext:[j]pg: an extension can't hold *, ? or [ ]; name several, as in ext:jpg,jpeg",
		"x[b-a]":                        "@0 x[b-a]: the range in brackets runs backwards; put the word in quotes to search for it as it is",
		"a/x[b-a]":                      "@0 a/x[b-a]: the range in brackets runs backwards; put the word in quotes to search for it as it is",
		"path:":                         "@0 path:: no path named; try path:/home or path:photos/2019",
		"path:a,":                       "@0 path:a,: no path named; try path:/home or path:photos/2019",
		"name:":                         "@0 name:: no name given; try name: and a part of a name",
		"name:a/b":                      "@0 name:a/b: no name holds a slash or a NUL byte",
		"kind:picture":                  "@0 kind:picture: not a kind; kinds are archive, audio, code, doc, image and video",
		"location:":                     "@0 location:: no location named; name one, or several with commas between them",
		"x " + strings.Repeat("/a", 64): "@2 " + strings.Repeat("/a", 64) + ": too much to look for, the limit is 64 words and values",
		"size:>big":                     "@0 size:>big: not a size; try size:>10M or size:10M..1G",
		"size:":                         "@0 size:: not a size; try size:>10M or size:10M..1G",
		"size:-1":                       "@0 size:-1: not a size; try size:>10M or size:10M..1G",
		"size:1.5":                      "@0 size:1.5: not a size; try size:>10M or size:10M..1G",
		"size:.5M":                      "@0 size:.5M: not a size; try size:>10M or size:10M..1G",
		"size:1.M":                      "@0 size:1.M: not a size; try size:>10M or size:10M..1G",
		"size:1MM":                      "@0 size:1MM: not a size; try size:>10M or size:10M..1G",
		"size:1BB":                      "@0 size:1BB: not a size; try size:>10M or size:10M..1G",
		"size:1Q":                       "@0 size:1Q: not a size; try size:>10M or size:10M..1G",
		"size:1...2":                    "@0 size:1...2: not a size; try size:>10M or size:10M..1G",
		"size:>1..2":                    "@0 size:>1..2: not a size; try size:>10M or size:10M..1G",
		"size:..":                       "@0 size:..: the range has no end; give at least one, as in a.. or ..b",
		"size:1G..10M":                  "@0 size:1G..10M: the range runs backwards; try 10M..1G",
		"size:<0":                       "@0 size:<0: no size is below zero; size:0 finds empty files",
		"size:1M,":                      "@0 size:1M,: not a size; try size:>10M or size:10M..1G",
		"modified:5m":                   "@0 modified:5m: m could be minutes or months; write 5min or 5mo",
		"modified:<5M":                  "@0 modified:<5M: m could be minutes or months; write 5min or 5mo",
		"modified:7d":                   "@0 modified:7d: neither younger nor older; try modified:<7d or modified:>7d",
		"modified:=7d":                  "@0 modified:=7d: neither younger nor older; try modified:<7d or modified:>7d",
		"modified:<7days":               "@0 modified:<7days: not an age; units are s, min, h, d, w, mo and y",
		"modified:2026-13":              "@0 modified:2026-13: not a date or an age; try modified:<7d, modified:2026-03 or modified:2026-01..2026-03",
		"modified:2026-02-30":           "@0 modified:2026-02-30: not a date or an age; try modified:<7d, modified:2026-03 or modified:2026-01..2026-03",
		"modified:20260309":             "@0 modified:20260309: not a date or an age; try modified:<7d, modified:2026-03 or modified:2026-01..2026-03",
		"modified:":                     "@0 modified:: not a date or an age; try modified:<7d, modified:2026-03 or modified:2026-01..2026-03",
		"modified:soon":                 "@0 modified:soon: not a date or an age; try modified:<7d, modified:2026-03 or modified:2026-01..2026-03",
		"modified:1w..2w":               "@0 modified:1w..2w: the range runs backwards; try 2w..1w",
		"modified:..":                   "@0 modified:..: the range has no end; give at least one, as in a.. or ..b",
		"modified:1m..":                 "@0 modified:1m..: m could be minutes or months; write 1min or 1mo",
		"type:x":                        "@0 type:x: not a type; types are f (file), d (folder), l (link) and o (other)",
		"type:":                         "@0 type:: not a type; types are f (file), d (folder), l (link) and o (other)",
		"on:":                           "@0 on:: no device named; name one, or several with commas between them",
		strings.Repeat("a ", 65):        "@128 a: too much to look for, the limit is 64 words and values",
		strings.Repeat("a", 4097):       "a query of 4097 bytes is too long, the limit is 4096",
	} {
		_, err := Parse(text, testNow(t))
		if e := (*Error)(nil); !errors.As(err, &e) {
			t.Errorf("Parse(%q): %v, want an *Error", text, err)
		} else if got := e.Error(); got != trimPos(want, e.Pos, t) {
			t.Errorf("Parse(%q):\n got %s\nwant %s", text, got, want)
		}
	}
}

// trimPos takes "@pos " off want, after checking it.
func trimPos(want string, pos int, t *testing.T) string {
	rest, ok := strings.CutPrefix(want, "@")
	if !ok {
		return want
	}
	at, rest, _ := strings.Cut(rest, " ")
	if at != strconv.Itoa(pos) {
		t.Errorf("%s: position %d", want, pos)
	}
	return rest
}

func TestFields(t *testing.T) {
	now := testNow(t)
	q, err := Fields{
		Text: "report", Ext: []string{"pdf", "doc,odt"}, Size: []string{">1M"}, Modified: []string{"today"},
		Type: []string{"f"}, On: []string{"my nas", `say "hi"`},
		Name: []string{"a b"}, Path: []string{"/my docs"}, Kind: []string{"doc,code"}, Location: []string{"work"},
	}.Parse(now)
	if err != nil {
		t.Fatal(err)
	}
	want := `report ext:pdf,doc,odt kind:doc,code modified:2026-03-20T23:00:00.000000000Z..2026-03-21T22:59:59.999999999Z name:"a b" ` +
		`size:1048577.. type:file path:/"my docs" on:"my nas","say \"hi\"" location:work`
	if q.String() != want {
		t.Errorf("got  %s\nwant %s", q, want)
	}

	// Text and flags are joined by AND, the values of one flag are alternatives.
	q, err = Fields{Text: "ext:jpg,png on:nas", Ext: []string{"png", "gif"}, On: []string{"laptop"}}.Parse(now)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a.jpg": false, "a.png": true, "a.gif": false} {
		if q.Match(&index.Entry{Name: name}) != want {
			t.Errorf("%s: %s", q, name)
		}
	}
	if q.MatchesDevice("nas") || q.MatchesDevice("laptop") {
		t.Errorf("%s matches a device", q)
	}

	for want, f := range map[string]Fields{
		"size:>big: not a size; try size:>10M or size:10M..1G":           {Text: "a", Size: []string{">big"}},
		"no device named; name one, or several with commas between them": {On: []string{""}},
	} {
		_, err := f.Parse(now)
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Pos != -1 || !strings.HasSuffix(e.Error(), want) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if _, err := (Fields{Text: " "}).Parse(now); err == nil {
		t.Error("nothing was asked for, no error")
	}
	if q, err := (Fields{Type: []string{"d"}}).Parse(now); err != nil || q.Empty() {
		t.Errorf("flags only: %v, %v", q, err)
	}
}

// TestPaths is the table of what a query says about paths.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		query        string
		matches, not []string
	}{
		{"docs/inv", []string{"/docs/invoice.pdf", "/a/mydocs/INV", "/a/docs/inv"}, []string{"/docs/my-inv", "/docs/inv/x", "/docs/a/inv", "/inv"}},
		{"Docs/inv", []string{"/a/Docs/inv"}, []string{"/docs/inv", "/Docs/Inv"}},
		{"a/b/c", []string{"/xa/b/cx"}, []string{"/a/xb/c", "/a/b/x/c", "/a/c"}},
		{"/docs/inv", []string{"/docs/inv", "/docs/invoice"}, []string{"/a/docs/inv", "/mydocs/inv", "/docs"}},
		{"docs//inv", []string{"/docs/inv"}, nil},
		{"docs/*.pdf", []string{"/docs/a.pdf", "/x/docs/A.PDF"}, []string{"/docs/x/a.pdf", "/mydocs/a.pdf", "/a.pdf", "/docs/a.pdfx"}},
		{"docs/**/*.pdf", []string{"/docs/a.pdf", "/x/docs/y/z/a.pdf"}, []string{"/a.pdf", "/doc/a.pdf"}},
		{"/docs/**", []string{"/docs/a", "/docs/a/b"}, []string{"/docs", "/x/docs/a"}},
		{"**/a", []string{"/a", "/x/y/a"}, []string{"/xa", "/a/b"}},
		{"a/**/b/**/c", []string{"/a/b/c", "/a/x/b/y/b/z/c"}, []string{"/a/c", "/b/c"}},
		{"/*/b", []string{"/a/b"}, []string{"/b", "/a/a/b"}},
		{"/[a-c]/?", []string{"/B/x"}, []string{"/d/x", "/a/xy"}},
		{`/"**"/b`, []string{"/**/bc"}, []string{"/a/b"}},
		{"-docs/*.pdf", []string{"/a.pdf"}, []string{"/docs/a.pdf"}},
		{"/größe/x", []string{"/GRÖẞE/X"}, nil},

		{"path:/tank/docs", []string{"/tank/docs", "/tank/docs/a", "/Tank/Docs/a/b"}, []string{"/tank", "/tank/docs2", "/x/tank/docs/a"}},
		{"path:/tank/docs/", []string{"/tank/docs/a"}, []string{"/tank/docs2"}},
		{"path:/", []string{"/a", "/a/b"}, nil},
		{"path:docs", []string{"/docs", "/a/docs/b/c"}, []string{"/mydocs/b", "/a"}},
		{"path:docs/20*", []string{"/a/docs/2026/b"}, []string{"/docs/x/2026/b"}},
		{"path:/a/**/z", []string{"/a/z", "/a/b/c/z/y"}, []string{"/a/b", "/z"}},
		{"path:a,b", []string{"/a/x", "/x/b/y"}, []string{"/c/x"}},
		{"path:a path:b", []string{"/a/b/x", "/b/a"}, []string{"/a/x", "/b/x"}},
		{"-path:node_modules", []string{"/a/b"}, []string{"/a/node_modules", "/node_modules/b"}},
		{`path:"a,b"`, []string{"/a,b/c"}, []string{"/a/c"}},
	} {
		q := mustParse(t, c.query)
		if !q.UsesPath() {
			t.Errorf("%s does not use paths", c.query)
		}
		again := mustParse(t, q.String())
		if again.String() != q.String() {
			t.Errorf("%s: written as %s, read as %s", c.query, q, again)
		}
		for want, paths := range map[bool][]string{true: c.matches, false: c.not} {
			for _, p := range paths {
				if got := q.MatchPath(p); got != want || got != again.MatchPath(p) {
					t.Errorf("%s, %s: %v", c.query, p, got)
				}
			}
		}
	}
}

// TestReaches holds which folders a search has to enter.
func TestReaches(t *testing.T) {
	for _, c := range []struct {
		query    string
		anchored bool
		yes, not []string
	}{
		{"a", false, []string{"/x"}, nil},
		{"docs/inv", false, []string{"/x"}, nil},
		{"-path:/a", false, []string{"/a"}, nil},
		{"path:/tank/docs", true, []string{"/", "/tank", "/tank/DOCS", "/tank/docs/x/y"}, []string{"/x", "/tank/x", "/tank/docs2"}},
		{"/tank/*.pdf", true, []string{"/", "/tank"}, []string{"/x", "/tank/x"}},
		{"/a/**/b", true, []string{"/a", "/a/x/y"}, []string{"/b"}},
		{"path:/a,/b/c", true, []string{"/a/x", "/b"}, []string{"/b/d", "/c"}},
		{"path:/a,b", false, []string{"/x"}, nil},
		{"path:/a /a/b/*", true, []string{"/a/b"}, []string{"/a/c"}},
		{"path:/", false, []string{"/x/y"}, nil},
	} {
		q := mustParse(t, c.query)
		if q.Anchored() != c.anchored {
			t.Errorf("%s: anchored %v", c.query, q.Anchored())
		}
		for want, folders := range map[bool][]string{true: c.yes, false: c.not} {
			for _, f := range folders {
				if q.Reaches(f) != want {
					t.Errorf("%s reaches %s: %v", c.query, f, !want)
				}
			}
		}
	}
}

// TestPathNaive compares patterns for paths with the plainest way to say the same, and holds that no search leaves
// out a folder that it must enter.
func TestPathNaive(t *testing.T) {
	var naive func(p pathPattern, names []string) bool
	naive = func(p pathPattern, names []string) bool {
		switch {
		case len(p) == 0:
			return len(names) == 0
		case p[0].deep:
			return naive(p[1:], names) || len(names) > 0 && naive(p, names[1:])
		}
		return len(names) > 0 && p[0].matchName(names[0]) && naive(p[1:], names[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "ab", "A", "*", "?", "a*", "**", "[ab]"})
		text := rapid.SampledFrom([]string{"/", "", "path:", "path:/"}).Draw(t, "begin") + strings.Join(rapid.SliceOfN(part, 2, 5).Draw(t, "parts"), "/")
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "A", "c"}), 1, 6).Draw(t, "names")
		q, err := Parse(text, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		path := "/" + strings.Join(names, "/")
		got := q.MatchPath(path)
		if want := naive(q.paths[0].any[0], names); got != want {
			t.Fatalf("%s, %s: %v, want %v", text, path, got, want)
		}
		for i := range names {
			if folder := "/" + strings.Join(names[:i], "/"); got && !q.Reaches(folder) {
				t.Fatalf("%s does not reach %s, but finds %s", text, folder, path)
			}
		}
		again, err := Parse(q.String(), time.Time{})
		if err != nil || again.String() != q.String() || again.MatchPath(path) != got {
			t.Fatalf("%s is written as %s: %v, %v", text, q, again, err)
		}
	})
}

func TestLocations(t *testing.T) {
	q := mustParse(t, "location:photos,Doc* -location:doc2")
	for name, want := range map[string]bool{"Photos": true, "docs": true, "DOC2": false, "music": false} {
		if q.MatchesLocation(name) != want {
			t.Errorf("%s: %s: %v", q, name, !want)
		}
	}
	if again := mustParse(t, q.String()); again.String() != q.String() || q.Empty() {
		t.Errorf("%s is read as %s", q, again)
	}
}

// TestOnlyNames holds which searches can be answered from the names alone, at first.
func TestOnlyNames(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "A *.jpg": true, "ext:jpg": true, "name:a,b": true, "docs/*.pdf": true, "a -type:d": false, "a size:0": false, "a modified:today": false,
		"kind:image": false, "-a": false, "*": false, "path:a": false, "a path:b -c on:x": true, "type:f": false,
	} {
		if q := mustParse(t, text); q.OnlyNames() != want {
			where, _ := q.SQL()
			t.Errorf("%s: %v, for %s", text, !want, where)
		}
	}
}

func TestZeroQuery(t *testing.T) {
	var q Query
	where, args := q.SQL()
	if !q.Empty() || !q.Match(&index.Entry{}) || !q.MatchesDevice("x") || where != "1" || args != nil {
		t.Errorf("the zero query: %q %v", where, args)
	}
	if both := q.And(mustParse(t, "a on:b")); both.Empty() || both.String() != "a on:b" {
		t.Errorf("joined with the zero query: %s", both)
	}
}
