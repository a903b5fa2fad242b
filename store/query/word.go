package query

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peerdex/peerdex/index"
)

// word is a condition on the name.
type word struct {
	pattern []elem // folded unless exact
	whole   bool   // the whole name must fit; else pattern is one literal that the name must hold
	exact   bool   // case matters, or there is no letter in it that has a case
}

func parseWord(t token) (word, *fault) {
	if f := t.impossible(); f != nil {
		return word{}, f
	}
	p, f := parseGlob(t)
	if f != nil {
		return word{}, f
	}
	w := word{pattern: p, whole: isGlob(p)}
	w.fold(anyRune(p, hasUpper) || !anyRune(p, hasCase))
	return w, nil
}

// fold makes the word one for any case, unless it is to be exact.
func (w *word) fold(exact bool) {
	if w.exact = exact; !exact {
		foldGlob(w.pattern)
	}
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
	return bytes.Contains(b, []byte(w.pattern[0].lit))
}

func (w word) String() string { return globString(w.pattern) }

// filter uses what measured fastest: LIKE, whose search for an ASCII first character is quick, and instr, which is
// exact, where case matters.
func (w word) filter() filter {
	if w.exact && !w.whole && utf8.ValidString(w.pattern[0].lit) {
		return filter{sql: "instr(name, ?) > 0", args: []any{w.pattern[0].lit}, weight: len(w.pattern[0].lit), names: true}
	}
	op, pattern, literals := w.sqlPattern()
	if literals == 0 {
		return filter{}
	}
	return filter{sql: "name " + op + " ?", args: []any{pattern}, weight: literals, names: true}
}

// sqlPattern returns a pattern for LIKE or GLOB that every matching name fits, and how many characters in it narrow
// the search.
//
// Escapes are not needed: a literal % or _ in LIKE, and ? or * in GLOB, also stands for itself; [ becomes ?. LIKE
// folds ASCII as this package does, and nothing else, so any other letter that has a case becomes _. Where that
// leaves little to look for, GLOB gets a set of all the letter's forms; that is four times slower, but still better
// than to look at all rows here. All wildcards become runs.
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
	add := func(r rune) {
		folds := !w.exact && hasCase(r)
		switch {
		case glob && r == '[', !glob && folds && r >= utf8.RuneSelf:
			b = append(b, one)
			return
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
	for _, e := range w.pattern {
		if e.kind != literal {
			wild()
		}
		for i, r := range e.lit {
			if endsClean(e.lit[i:]) {
				add(r)
			} else {
				wild()
			}
		}
	}
	if !w.whole {
		wild()
	}
	return op, string(b), literals
}

// endsClean reports whether a literal begins with a character that no stray continuation byte can follow: an ASCII
// character, or one with another character after it.
func endsClean(s string) bool {
	if s[0] < utf8.RuneSelf {
		return true
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return false
	}
	next, m := utf8.DecodeRuneInString(s[n:])
	return next != utf8.RuneError || m > 1
}

// foreign reports whether most of the letters to look for are such that LIKE does not fold.
func (w word) foreign() bool {
	n := 0
	for _, e := range w.pattern {
		for _, r := range e.lit {
			switch {
			case r == utf8.RuneError:
			case r >= utf8.RuneSelf && hasCase(r):
				n++
			default:
				n--
			}
		}
	}
	return n > 0
}

// words is the condition that one of several holds.
type words []word

func (w words) match(e *index.Entry) bool {
	for i := range w {
		if w[i].matchName(e.Name) {
			return true
		}
	}
	return false
}

func (w words) filter() filter {
	f := filter{weight: 1, names: true}
	parts := make([]string, 0, len(w))
	for _, one := range w {
		g := one.filter()
		if g.sql == "" {
			return filter{}
		}
		parts = append(parts, g.sql)
		f.args = append(f.args, g.args...)
	}
	f.sql = "(" + strings.Join(parts, " OR ") + ")"
	return f
}

func (w words) or(o anyOf) anyOf { return slices.Concat(w, o.(words)) }

func (w words) String() string { return list("name:", w, word.String) }

func parseName(t token, _ time.Time) (anyOf, *fault) {
	if t.text == "" {
		return nil, &fault{"no name given", "try name: and a part of a name"}
	}
	w, f := parseWord(t)
	return words{w}, f
}
