package query

import (
	"errors"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// FuzzParse feeds any text to the parser: it must not panic, must say what is wrong by an [*Error] that points into
// the text, and must read what it wrote as the same query.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"report -draft \"annual report\" !x", "IMG_*.jpg ?", "ext:jpg,png -ext:tar.gz ext:", "size:>1.5G size:..1M,0",
		"modified:<7d modified:2026-01..2026-03 modified:today,>1mo", "type:f,d,l,o -type:link", "on:nas,\"my nas\" -on:p*",
		"12:30 a::b foo:bar", "a|b (c) \"", "\"\\\"\\\\\"", "größe отчёт 日本 caf\xe9", "a/b\x00", "modified:1600..9999",
		"modified:2026-03-09T10:00:30.123456789+01:00..2w", "size:99999999999999999999P", "[a-z]*[!]x] a[b \"[\"", "docs/**/*.pdf path:/a/b,c -/x/[^y]", "kind:image,doc name:a,*b location:x", "modified:>2026-02-30T25",
	} {
		f.Add(s, "name.JPG")
	}
	now := testNow(f)
	f.Fuzz(func(t *testing.T, text, name string) {
		q, err := Parse(text, now)
		if err != nil {
			e := (*Error)(nil)
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos+len(e.Token) > len(text) ||
				text[e.Pos:e.Pos+len(e.Token)] != e.Token {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		again, err := Parse(q.String(), now)
		if err != nil {
			var e *Error
			if len(q.String()) > maxText && errors.As(err, &e) && e.Token == "" {
				return // written out it became too long
			}
			t.Fatalf("%q is written as %q: %v", text, q, err)
		}
		if again.String() != q.String() {
			t.Fatalf("%q is written as %q, that as %q", text, q, again)
		}
		e := index.Entry{Name: name, Kind: index.KindFile, Size: int64(len(text)), MTime: now.UnixNano()}
		if q.Match(&e) != again.Match(&e) {
			t.Fatalf("%q and %q differ about %q", text, q, name)
		}
		if q.MatchPath(name) != again.MatchPath(name) {
			t.Fatalf("%q and %q differ about the path %q", text, q, name)
		}
		q.SQL()
		q.Reaches(name)
		q.MatchesDevice(name)
		q.MatchesLocation(name)
	})
}
