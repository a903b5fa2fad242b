package query

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of a query, so that one from elsewhere can't be used to tire SQLite.
const (
	maxText   = 4096 // bytes of text and of all flags together
	maxValues = 64   // words and values of operators
)

// Error says what is wrong with a query.
type Error struct {
	Pos   int    // where Token begins in the text, in bytes; -1 when a flag is meant
	Token string // the word or operator as it was written; "" when the whole query is meant
	Msg   string // what is wrong
	Hint  string // what to write instead; may be ""
}

// Error returns "token: message; hint".
func (e *Error) Error() string {
	s := e.Msg
	if e.Token != "" {
		s = e.Token + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Fields is a query in parts: a text in the language, and values of operators, as flags give them. What is in one
// list is alternatives; the lists and the text are all joined by AND.
type Fields struct {
	Text                                                      string
	Ext, Kind, Location, Modified, Name, On, Path, Size, Type []string
}

// Parse reads a text. Ages and dates are relative to now, in its time zone. Errors are of type [*Error].
func Parse(text string, now time.Time) (Query, error) { return Fields{Text: text}.Parse(now) }

// Parse reads the text and the flags. Ages and dates are relative to now, in its time zone. Errors are of type
// [*Error]; a query in which nothing is asked for is one.
func (f Fields) Parse(now time.Time) (Query, error) {
	flags := [...]struct {
		op     string
		values []string
	}{
		{"ext", f.Ext}, {"kind", f.Kind}, {"location", f.Location}, {"modified", f.Modified}, {"name", f.Name}, {"on", f.On},
		{"path", f.Path}, {"size", f.Size}, {"type", f.Type},
	}
	p := parser{now: now, bytes: len(f.Text)}
	for _, flag := range flags {
		for _, v := range flag.values {
			p.bytes += len(v)
		}
	}
	if p.bytes > maxText {
		return Query{}, &Error{Msg: fmt.Sprintf("a query of %d bytes is too long, the limit is %d", p.bytes, maxText)}
	}
	if err := p.text(f.Text); err != nil {
		return Query{}, err
	}
	q := p.q
	p.q = Query{}
	for _, flag := range flags {
		if len(flag.values) == 0 {
			continue
		}
		if err := p.flag(flag.op, flag.values); err != nil {
			return Query{}, err
		}
	}
	if q = q.And(p.q); q.Empty() {
		return Query{}, &Error{Msg: "nothing to search for", Hint: "try a part of a name, or an operator such as ext:pdf"}
	}
	return q, nil
}

// parser collects a query.
type parser struct {
	now    time.Time
	q      Query
	bytes  int
	values int
}

// fault is what is wrong with a part of a token; the parser knows the rest of an [Error].
type fault struct{ msg, hint string }

// operator is one that the language has.
type operator struct {
	name  string
	adds  bool // repeating it adds values, else it narrows
	parse func(value token, now time.Time) (anyOf, *fault)
}

// anyOf is the condition of an operator: one or several values, any of which will do.
type anyOf interface {
	condition
	or(other anyOf) anyOf // of the same operator
}

// operators has every operator of the language that is a condition on an entry without its path.
var operators = [...]operator{
	{"ext", true, parseExt},
	{"kind", true, parseKind},
	{"modified", false, parseModified},
	{"name", false, parseName},
	{"size", false, parseSize},
	{"type", true, parseType},
}

const operatorNames = "ext, kind, location, modified, name, on, path, size and type"

func (p *parser) text(s string) error {
	for pos := 0; ; {
		t, next, f := lex(s, pos)
		switch {
		case f != nil:
			return &Error{Pos: t.pos, Token: s[t.pos:next], Msg: f.msg, Hint: f.hint}
		case next == t.pos: // the end
			return nil
		}
		if f := p.token(t); f != nil {
			return &Error{Pos: t.pos, Token: s[t.pos:next], Msg: f.msg, Hint: f.hint}
		}
		pos = next
	}
}

// flag reads the values of one flag as if they stood in the text as one operator. Quotes have no meaning in them: the
// shell has taken them off.
func (p *parser) flag(op string, values []string) error {
	all := make([]token, 0, len(values))
	for _, v := range values {
		all = append(all, plain(v).split(',')...)
	}
	if f := p.operator(false, op, all); f != nil {
		return &Error{Pos: -1, Token: op + ":" + strings.Join(values, ","), Msg: f.msg, Hint: f.hint}
	}
	return nil
}

// token reads one word or operator.
func (p *parser) token(t token) *fault {
	not := false
	if len(t.text) > 1 && (t.is(0, '-') || t.is(0, '!')) {
		not, t = true, t.from(1)
	}
	if op, value, ok := t.operator(); ok {
		return p.operator(not, op, value.split(','))
	}
	switch {
	case t.index('|') >= 0:
		return &fault{`"|" has no meaning yet`, `put the word in quotes to search for it`}
	case t.is(0, '('):
		return &fault{"parentheses have no meaning yet", `put the word in quotes to search for it`}
	}
	if strings.IndexByte(t.text, '/') >= 0 {
		return p.path(not, false, []token{t})
	}
	if f := p.count(1); f != nil {
		return f
	}
	w, f := parseWord(t)
	if f != nil {
		return f
	}
	p.q.terms = append(p.q.terms, term{not, "", w})
	return nil
}

// operator adds the values of one operator: one condition, met when one of the values is.
func (p *parser) operator(not bool, name string, values []token) *fault {
	if f := p.count(len(values)); f != nil {
		return f
	}
	name = strings.ToLower(name)
	switch name {
	case "on":
		return where(&p.q.devices, "device", not, values)
	case "location":
		return where(&p.q.locations, "location", not, values)
	case "path":
		return p.path(not, true, values)
	}
	i := slices.IndexFunc(operators[:], func(o operator) bool { return o.name == name })
	if i < 0 {
		return &fault{"no such operator", "there are " + operatorNames + "; put it in quotes to search for it as a word"}
	}
	var sum anyOf
	for _, v := range values {
		c, f := operators[i].parse(v, p.now)
		if f != nil {
			return f
		}
		if sum == nil {
			sum = c
		} else {
			sum = sum.or(c)
		}
	}
	if operators[i].adds {
		for j, t := range p.q.terms {
			if t.op == name && t.not == not {
				p.q.terms[j].cond = t.cond.(anyOf).or(sum)
				return nil
			}
		}
	}
	p.q.terms = append(p.q.terms, term{not, name, sum})
	return nil
}

// path adds patterns for the path, each part of which counts as a value.
func (p *parser) path(not, below bool, values []token) *fault {
	t := pathTerm{not: not, below: below}
	for _, v := range values {
		if v.text == "" {
			return &fault{"no path named", "try path:/home or path:photos/2019"}
		}
		pattern, f := parsePath(v, below)
		if f != nil {
			return f
		}
		if f := p.count(len(pattern)); f != nil {
			return f
		}
		t.any = append(t.any, pattern)
	}
	p.q.paths = append(p.q.paths, t)
	return nil
}

// where adds names of what is to be searched.
func where(terms *[]nameTerm, what string, not bool, values []token) *fault {
	var all names
	for _, v := range values {
		w, f := parseWhere(v, what)
		if f != nil {
			return f
		}
		all = append(all, w)
	}
	for i, t := range *terms {
		if t.not == not {
			(*terms)[i].names = append(t.names, all...)
			return nil
		}
	}
	*terms = append(*terms, nameTerm{not, all})
	return nil
}

func (p *parser) count(n int) *fault {
	if p.values += n; p.values > maxValues {
		return &fault{fmt.Sprintf("too much to look for, the limit is %d words and values", maxValues), ""}
	}
	return nil
}
