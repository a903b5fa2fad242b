package query

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/peerdex/peerdex/index"
)

// Wildcards inside a pattern are written as the two bytes that no name holds.
const (
	anyRun    = '/' // "*": any run of characters, also none
	anyOne    = 0   // "?": one character, or one byte that is not UTF-8
	wildcards = "/\x00"
)

// word is a condition on the name.
type word struct {
	pattern string // what to look for, folded unless exact
	whole   bool   // a pattern with wildcards, for the whole name
	exact   bool   // case matters, or there is no letter in it that has a case
}

func parseWord(t token) (word, *fault) {
	var w word
	if f := t.impossible(); f != nil {
		return w, f
	}
	b := make([]byte, 0, len(t.text))
	for i := range len(t.text) {
		switch c := t.text[i]; {
		case t.is(i, '*'):
			if w.whole = true; len(b) == 0 || b[len(b)-1] != anyRun {
				b = append(b, anyRun)
			}
		case t.is(i, '?'):
			w.whole = true
			b = append(b, anyOne)
		default:
			b = append(b, c)
		}
	}
	w.pattern = string(b)
	w.exact = strings.ContainsFunc(w.pattern, hasUpper) || !strings.ContainsFunc(w.pattern, hasCase)
	if !w.exact {
		w.pattern = string(appendFold(nil, w.pattern))
	}
	return w, nil
}

func (w word) match(e *index.Entry) bool { return w.matchName(e.Name) }

func (w word) matchName(name string) bool {
	var buf [2 * index.MaxNameLen]byte
	var b []byte
	if w.exact {
		b = append(buf[:0], name...)
	} else {
		b = appendFold(buf[:0], name)
	}
	if w.whole {
		return matchGlob(w.pattern, b)
	}
	return bytes.Contains(b, []byte(w.pattern))
}

func (w word) String() string { return quote(w.pattern) }

// filter uses what measured fastest: LIKE, whose search for an ASCII first character is quick, and instr, which is
// exact, where case matters.
func (w word) filter() filter {
	if w.exact && !w.whole && utf8.ValidString(w.pattern) {
		return filter{sql: "instr(name, ?) > 0", args: []any{w.pattern}, weight: len(w.pattern)}
	}
	op, pattern, literals := w.sqlPattern()
	if literals == 0 {
		return filter{}
	}
	return filter{sql: "name " + op + " ?", args: []any{pattern}, weight: literals}
}

// sqlPattern returns a pattern for LIKE or GLOB that every matching name fits, and how many characters in it narrow
// the search.
//
// Escapes are not needed: a literal % or _ in LIKE, and ? or * in GLOB, also stands for itself; [ becomes ?. LIKE
// folds ASCII as this package does, and nothing else, so any other letter that has a case becomes _. Where that
// leaves little to look for, GLOB gets a set of all the letter's forms; that is four times slower, but still better
// than to look at all rows here.
//
// SQLite takes a character and any stray continuation bytes after it as one, this package does not. They agree on a
// character that is followed by another one; so the last one before a wildcard, a stray byte or the end is left out
// unless it is ASCII, which never takes bytes after it.
func (w word) sqlPattern() (op, pattern string, literals int) {
	op, run, one := "LIKE", byte('%'), byte('_')
	glob := w.exact || w.foreign()
	if glob {
		op, run, one = "GLOB", '*', '?'
	}
	var b []byte
	wild := func() {
		if len(b) == 0 || b[len(b)-1] != run {
			b = append(b, run)
		}
	}
	if !w.whole {
		wild()
	}
	for i, r := range w.pattern {
		if !endsClean(w.pattern[i:]) {
			wild()
			continue
		}
		folds := !w.exact && hasCase(r)
		switch {
		case glob && r == '[', !glob && folds && r >= utf8.RuneSelf:
			b = append(b, one)
			continue
		case glob && folds:
			b = append(b, '[')
			forms(r, func(r rune) { b = utf8.AppendRune(b, r) })
			b = append(b, ']')
		default:
			b = utf8.AppendRune(b, r)
		}
		literals++
	}
	if !w.whole {
		wild()
	}
	return op, string(b), literals
}

// foreign reports whether most of the letters to look for are such that LIKE does not fold.
func (w word) foreign() bool {
	n := 0
	for _, r := range w.pattern {
		switch {
		case r == anyRun || r == anyOne || r == utf8.RuneError:
		case r >= utf8.RuneSelf && hasCase(r):
			n++
		default:
			n--
		}
	}
	return n > 0
}
