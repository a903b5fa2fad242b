package query

import (
	"unicode"
	"unicode/utf8"
)

// forms calls f with r and with every other form of it that any-case search takes for the same letter: its orbit of
// Unicode simple folding, without the step from ASCII to other letters or back.
func forms(r rune, f func(rune)) {
	f(r)
	for s := unicode.SimpleFold(r); s != r; s = unicode.SimpleFold(s) {
		if (s < utf8.RuneSelf) == (r < utf8.RuneSelf) {
			f(s)
		}
	}
}

// hasCase reports whether r has more than one form.
func hasCase(r rune) bool {
	n := 0
	forms(r, func(rune) { n++ })
	return n > 1
}

// hasUpper reports whether r makes a word case-sensitive.
func hasUpper(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) }

// fold returns the one form that stands for all forms of r: the first that is not upper case, so that a folded word
// is read back as one for any case.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r |= 0x20
		}
		return r
	}
	best := r
	forms(r, func(s rune) {
		if up := hasUpper(s); up == hasUpper(best) && s < best || !up && hasUpper(best) {
			best = s
		}
	})
	return best
}

// appendFold appends s with every letter folded. Bytes that are not UTF-8 stay as they are.
func appendFold(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			b = append(b, byte(fold(rune(c))))
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if n == 1 {
			b = append(b, s[i])
		} else {
			b = utf8.AppendRune(b, fold(r))
		}
		i += n
	}
	return b
}
