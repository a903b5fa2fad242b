package query

import (
	"strings"
	"unicode/utf8"
)

// elem is a piece of a pattern: bytes as they stand, or a wildcard.
type elem struct {
	kind elemKind
	lit  string // of a literal; never empty
	set  *set   // of oneOf
}

type elemKind uint8

const (
	literal elemKind = iota
	anyRun           // "*": any run of characters, also none
	anyOne           // "?": one character, or one byte that is not UTF-8
	oneOf            // "[a-z]": one character of a set
)

// unit is a character, or a byte that is not UTF-8, which is given a value of its own.
type unit = rune

func decodeUnit(s []byte) (u unit, n int) {
	r, n := utf8.DecodeRune(s)
	if r == utf8.RuneError && n == 1 {
		r = utf8.MaxRune + 1 + rune(s[0])
	}
	return r, n
}

// appendUnit undoes decodeUnit.
func appendUnit(b []byte, u unit) []byte {
	if u > utf8.MaxRune {
		return append(b, byte(u-utf8.MaxRune-1))
	}
	return utf8.AppendRune(b, u)
}

// set is the characters that a bracket stands for, or all others.
type set struct {
	not    bool
	fold   bool // any case
	ranges []unitRange
}

// unitRange is the characters from lo to hi, both included.
type unitRange struct{ lo, hi unit }

func (s *set) has(u unit) bool {
	found := false
	look := func(u unit) {
		for _, r := range s.ranges {
			found = found || r.lo <= u && u <= r.hi
		}
	}
	if look(u); s.fold && !found && u <= utf8.MaxRune {
		forms(u, look)
	}
	return found != s.not
}

// any reports whether f holds for a character that the set was written with.
func (s *set) any(f func(rune) bool) bool {
	for _, r := range s.ranges {
		if f(r.lo) || f(r.hi) {
			return true
		}
	}
	return false
}

// String writes the set as parseSet reads it, every character in quotes that might need them.
func (s *set) String() string {
	b := []byte("[")
	if s.not {
		b = append(b, '!')
	}
	for _, r := range s.ranges {
		b = append(b, quoteLit(string(appendUnit(nil, r.lo)))...)
		if r.hi != r.lo {
			b = append(b, '-')
			b = append(b, quoteLit(string(appendUnit(nil, r.hi)))...)
		}
	}
	return string(append(b, ']'))
}

// parseSet reads the set that begins at byte i of t, which is "[", and returns where it ends. Without a closing bracket
// there is none, and next is i.
func parseSet(t token, i int) (s *set, next int, f *fault) {
	s = &set{}
	at := i + 1
	if t.is(at, '!') || t.is(at, '^') {
		s.not = true
		at++
	}
	for first := at; at < len(t.text); {
		if t.is(at, ']') && at > first {
			return s, at + 1, nil
		}
		lo, n := decodeUnit([]byte(t.text[at:]))
		r := unitRange{lo, lo}
		at += n
		if t.is(at, '-') && at+1 < len(t.text) && !t.is(at+1, ']') {
			r.hi, n = decodeUnit([]byte(t.text[at+1:]))
			if r.hi < r.lo {
				return s, at, &fault{"the range in brackets runs backwards", "put the word in quotes to search for it as it is"}
			}
			at += 1 + n
		}
		s.ranges = append(s.ranges, r)
	}
	return nil, i, nil
}

// parseGlob reads a pattern, or a plain text: then there is one literal, or none if t is empty. What is in quotes is
// always plain.
func parseGlob(t token) ([]elem, *fault) {
	var out []elem
	var lit []byte
	flush := func() {
		if len(lit) > 0 {
			out = append(out, elem{lit: string(lit)})
			lit = lit[:0]
		}
	}
	for i := 0; i < len(t.text); i++ {
		switch {
		case t.is(i, '*'):
			if flush(); len(out) == 0 || out[len(out)-1].kind != anyRun {
				out = append(out, elem{kind: anyRun})
			}
			continue
		case t.is(i, '?'):
			flush()
			out = append(out, elem{kind: anyOne})
			continue
		case t.is(i, '['):
			s, next, f := parseSet(t, i)
			if f != nil {
				return nil, f
			}
			if next > i {
				flush()
				out = append(out, elem{kind: oneOf, set: s})
				i = next - 1
				continue
			}
		}
		lit = append(lit, t.text[i])
	}
	flush()
	return out, nil
}

// isGlob reports whether there is a wildcard in a pattern.
func isGlob(p []elem) bool {
	for _, e := range p {
		if e.kind != literal {
			return true
		}
	}
	return false
}

// anyRune reports whether f holds for a character that a pattern was written with.
func anyRune(p []elem, f func(rune) bool) bool {
	for _, e := range p {
		if strings.ContainsFunc(e.lit, f) || e.kind == oneOf && e.set.any(f) {
			return true
		}
	}
	return false
}

// foldGlob makes a pattern one for any case. What it is matched with must be folded, too.
func foldGlob(p []elem) {
	for i := range p {
		switch p[i].kind {
		case literal:
			p[i].lit = string(appendFold(nil, p[i].lit))
		case oneOf:
			p[i].set.fold = true
		}
	}
}

func globString(p []elem) string {
	var b strings.Builder
	for _, e := range p {
		switch e.kind {
		case literal:
			b.WriteString(quoteLit(e.lit))
		case anyRun:
			b.WriteByte('*')
		case anyOne:
			b.WriteByte('?')
		case oneOf:
			b.WriteString(e.set.String())
		}
	}
	return b.String()
}

// take returns how many bytes at the start of name e stands for, or -1.
func (e *elem) take(name []byte) int {
	switch {
	case e.kind == literal:
		if len(name) >= len(e.lit) && string(name[:len(e.lit)]) == e.lit {
			return len(e.lit)
		}
		return -1
	case len(name) == 0:
		return -1
	}
	u, n := decodeUnit(name)
	if e.kind == oneOf && !e.set.has(u) {
		return -1
	}
	return n
}

// matchGlob reports whether the whole name fits the pattern. It steps back to the last run only, so the time is
// bounded by the product of the lengths.
func matchGlob(pattern []elem, name []byte) bool {
	p, n := 0, 0
	afterRun, retry := -1, 0 // where to go on in pattern and name when the last run must take more
	for {
		step := -1
		switch {
		case p < len(pattern) && pattern[p].kind == anyRun:
			p++
			afterRun, retry = p, n
			continue
		case p < len(pattern):
			step = pattern[p].take(name[n:])
		case n == len(name) || afterRun == p:
			return true
		}
		if step >= 0 {
			p++
			n += step
			continue
		}
		if afterRun < 0 || retry == len(name) {
			return false
		}
		_, step = utf8.DecodeRune(name[retry:])
		retry += step
		p, n = afterRun, retry
	}
}
