package query

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a piece of a query without its quotes.
type token struct {
	pos    int // where it began in the text
	text   string
	quoted []bool // for each byte of text, whether it stood in quotes
}

// plain returns a token without any quotes.
func plain(s string) token { return token{pos: -1, text: s, quoted: make([]bool, len(s))} }

// lex reads the token at or after pos, up to white space outside quotes, and returns where it ends in s. At the end
// of s that is where it begins. A fault is about s[t.pos:next].
func lex(s string, pos int) (t token, next int, f *fault) {
	for pos < len(s) {
		r, n := utf8.DecodeRuneInString(s[pos:])
		if !unicode.IsSpace(r) {
			break
		}
		pos += n
	}
	t.pos = pos
	var text []byte
	quoted := false
	for pos < len(s) {
		r, n := utf8.DecodeRuneInString(s[pos:])
		switch {
		case r == '"':
			quoted = !quoted
			pos++
			continue
		case !quoted && unicode.IsSpace(r):
			t.text = string(text)
			return t, pos, t.empty()
		case quoted && r == '\\' && pos+1 < len(s) && (s[pos+1] == '"' || s[pos+1] == '\\'):
			pos++
		}
		for ; n > 0; n-- {
			text = append(text, s[pos])
			t.quoted = append(t.quoted, quoted)
			pos++
		}
	}
	t.text = string(text)
	switch {
	case quoted:
		return t, pos, &fault{"the quote is not closed", `end it with "`}
	case pos > t.pos:
		return t, pos, t.empty()
	}
	return t, pos, nil
}

func (t token) empty() *fault {
	if t.text == "" {
		return &fault{"nothing between the quotes", ""}
	}
	return nil
}

// impossible says why no name can hold t, if so.
func (t token) impossible() *fault {
	if strings.ContainsAny(t.text, "/\x00") {
		return &fault{"no name holds a slash or a NUL byte", ""}
	}
	return nil
}

// is reports whether byte i is c, outside quotes.
func (t token) is(i int, c byte) bool { return i < len(t.text) && t.text[i] == c && !t.quoted[i] }

// index returns where c first stands outside quotes, or -1.
func (t token) index(c byte) int {
	for i := range len(t.text) {
		if t.is(i, c) {
			return i
		}
	}
	return -1
}

// from returns the token without its first i bytes.
func (t token) from(i int) token { return token{t.pos, t.text[i:], t.quoted[i:]} }

// to returns the first i bytes of the token.
func (t token) to(i int) token { return token{t.pos, t.text[:i], t.quoted[:i]} }

// split returns the parts of t between every c outside quotes.
func (t token) split(c byte) []token {
	var parts []token
	for {
		i := t.index(c)
		if i < 0 {
			return append(parts, t)
		}
		parts = append(parts, t.to(i))
		t = t.from(i + 1)
	}
}

// operator takes apart what looks like an operator: two or more letters (a hyphen counts as one, but not first) and a
// colon, nothing of it in quotes, without a second colon right after.
func (t token) operator() (name string, value token, ok bool) {
	i := t.index(':')
	if i < 2 || t.is(i+1, ':') {
		return "", token{}, false
	}
	for j := range i {
		if c := t.text[j] | 0x20; t.quoted[j] || ((c < 'a' || c > 'z') && (j == 0 || t.text[j] != '-')) {
			return "", token{}, false
		}
	}
	return t.text[:i], t.from(i + 1), true
}

// quoteLit writes s so that lex and parseGlob read it back as it is.
func quoteLit(s string) string {
	if isPlain(s) {
		return s
	}
	b := []byte{'"'}
	for j := range len(s) {
		if s[j] == '"' || s[j] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[j])
	}
	return string(append(b, '"'))
}

// isPlain reports whether s certainly needs no quotes, wherever it stands.
func isPlain(s string) bool {
	for i, r := range s {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '_', r == '.', r == '-' && i > 0:
		default:
			return false
		}
	}
	return true
}
