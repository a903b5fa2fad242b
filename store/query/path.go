package query

import (
	"slices"
	"strings"
)

// pathPattern is a condition on the whole path.
type pathPattern []part

// part is a pattern for one name of a path, or "**": any number of names, also none.
type part struct {
	word
	deep bool
}

// parsePath reads a pattern for a path. With below it also fits whatever lies below; without it the last part is the
// entry's own name, and a pattern without wildcards may begin and end within a name.
func parsePath(t token, below bool) (pathPattern, *fault) {
	if strings.IndexByte(t.text, 0) >= 0 {
		return nil, t.impossible()
	}
	anchored := strings.HasPrefix(t.text, "/")
	if !below && strings.HasSuffix(t.text, "/") {
		return nil, &fault{"a path to search for ends with a name", "path:docs finds what lies below docs, docs/* what is in it"}
	}
	p := pathPattern{}
	if !anchored {
		p = append(p, part{deep: true})
	}
	wild := below
	for _, name := range t.names() {
		if name.text == "**" && name.is(0, '*') && name.is(1, '*') {
			p, wild = p.deepen(), true
			continue
		}
		pattern, f := parseGlob(name)
		if f != nil {
			return nil, f
		}
		wild = wild || isGlob(pattern)
		p = append(p, part{word: word{pattern: pattern, whole: true}})
	}
	switch last := len(p) - 1; {
	case below:
		p = p.deepen()
	case p[last].deep: // what lies below is never the folder itself
		p = append(p, part{word: word{pattern: []elem{{kind: anyRun}}, whole: true}})
	case !wild:
		if run := (elem{kind: anyRun}); !anchored {
			p[1].pattern = slices.Insert(p[1].pattern, 0, run)
		}
		p[last].pattern = append(p[last].pattern, elem{kind: anyRun})
	}
	p.fold()
	return p, nil
}

// names returns what stands between slashes, quoted or not: no name holds one.
func (t token) names() []token {
	var out []token
	for {
		i := strings.IndexByte(t.text, '/')
		if i != 0 && t.text != "" {
			end := i
			if i < 0 {
				end = len(t.text)
			}
			out = append(out, t.to(end))
		}
		if i < 0 {
			return out
		}
		t = t.from(i + 1)
	}
}

// deepen adds "**", unless the pattern ends with it.
func (p pathPattern) deepen() pathPattern {
	if n := len(p); n > 0 && p[n-1].deep {
		return p
	}
	return append(p, part{deep: true})
}

// fold makes a pattern without an upper-case letter one for any case.
func (p pathPattern) fold() {
	has := func(f func(rune) bool) bool {
		return slices.ContainsFunc(p, func(x part) bool { return anyRune(x.pattern, f) })
	}
	exact := has(hasUpper) || !has(hasCase)
	for i := range p {
		p[i].fold(exact)
	}
}

func (p pathPattern) String() string {
	var b strings.Builder
	for i, x := range p {
		switch {
		case !x.deep:
			b.WriteString("/" + x.word.String())
		case i == 0 && len(p) > 1:
			b.WriteString("**")
		case i < len(p)-1:
			b.WriteString("/**")
		case i == 0:
			b.WriteString("/")
		}
	}
	return b.String()
}

// match reports whether the names of a path fit. It steps back to the last "**" only.
func (p pathPattern) match(names []string) bool {
	i, n := 0, 0
	afterDeep, retry := -1, 0
	for {
		switch {
		case i < len(p) && p[i].deep:
			i++
			afterDeep, retry = i, n
			continue
		case i < len(p) && n < len(names) && p[i].matchName(names[n]):
			i++
			n++
			continue
		case i == len(p) && (n == len(names) || afterDeep == i):
			return true
		}
		if afterDeep < 0 || retry >= len(names) {
			return false
		}
		retry++
		i, n = afterDeep, retry
	}
}

// reaches reports whether something in the folder of these names, at any depth, may match.
func (p pathPattern) reaches(names []string) bool {
	for i, x := range p {
		switch {
		case x.deep || i == len(names):
			return true
		case !x.matchName(names[i]):
			return false
		}
	}
	return false
}

// pathTerm is one or several patterns for the path, or the opposite.
type pathTerm struct {
	not   bool
	below bool // of the operator; else a word with a slash
	any   []pathPattern
}

func (t *pathTerm) match(names []string) bool {
	return t.not != slices.ContainsFunc(t.any, func(p pathPattern) bool { return p.match(names) })
}

// filter is a condition on the entry's own name, which the last part is.
func (t *pathTerm) filter() filter {
	if t.not || len(t.any) != 1 {
		return filter{}
	}
	last := t.any[0][len(t.any[0])-1]
	if last.deep {
		return filter{}
	}
	return last.filter()
}

func (t *pathTerm) String() string {
	s := t.any[0].String()
	if t.below {
		s = list("path:", t.any, pathPattern.String)
	}
	if t.not {
		s = "-" + s
	}
	return s
}

// splitPath returns the names of a path. buf is used if it is large enough.
func splitPath(path string, buf []string) []string {
	for path != "" {
		i := strings.IndexByte(path, '/')
		if i < 0 {
			return append(buf, path)
		}
		if i > 0 {
			buf = append(buf, path[:i])
		}
		path = path[i+1:]
	}
	return buf
}

// UsesPath reports whether there is a condition on paths, so that [Query.Match] is not enough.
func (q Query) UsesPath() bool { return len(q.paths) > 0 }

// MatchPath reports whether what the query says of paths holds for an entry with this absolute path, with "/" between
// names.
func (q Query) MatchPath(path string) bool {
	var buf [64]string
	names := splitPath(path, buf[:0])
	for i := range q.paths {
		if !q.paths[i].match(names) {
			return false
		}
	}
	return true
}

// Reaches reports whether something in a folder, at any depth, may match by its path. It is always true unless the
// query has a pattern that begins with a slash.
func (q Query) Reaches(folder string) bool {
	var buf [64]string
	names := splitPath(folder, buf[:0])
	for _, t := range q.paths {
		if !t.not && !slices.ContainsFunc(t.any, func(p pathPattern) bool { return p.reaches(names) }) {
			return false
		}
	}
	return true
}

// Anchored reports whether the query says of where in a device's tree to look, so that [Query.Reaches] can be false.
func (q Query) Anchored() bool {
	return slices.ContainsFunc(q.paths, func(t pathTerm) bool {
		return !t.not && !slices.ContainsFunc(t.any, func(p pathPattern) bool { return p[0].deep })
	})
}
