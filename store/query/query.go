package query

import (
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// Query is a parsed search. The zero value matches every entry of every device. It is immutable and safe for
// concurrent use. Get one from [Parse] or [Fields.Parse].
type Query struct {
	terms     []term     // all must hold
	paths     []pathTerm // all must hold
	devices   []nameTerm // all must hold
	locations []nameTerm // all must hold
}

// term is one condition, or its opposite.
type term struct {
	not  bool
	op   string // of the operator that made it; "" for a word
	cond condition
}

// condition is a property of an entry. Each operator makes one, and so does a word.
type condition interface {
	match(e *index.Entry) bool
	filter() filter
	String() string // as the language writes it
}

// filter is a condition in SQL that holds for every row that matches.
type filter struct {
	sql    string // "" when SQL can't help
	args   []any
	exact  bool // holds for no other rows either, so that its opposite is a filter too
	weight int  // the higher, the earlier: cheap or rare things first
	names  bool // looks at the column name only
}

// cheap is the weight of filters on integers, which cost SQLite less than any on names.
const cheap = 1 << 20

// nameTerm is one or several values of on: or location:, or the opposite.
type nameTerm struct {
	not   bool
	names names
}

func matchNames(terms []nameTerm, of ...string) bool {
	for _, t := range terms {
		if slices.ContainsFunc(of, t.names.match) == t.not {
			return false
		}
	}
	return true
}

// Empty reports whether the query has no condition at all.
func (q Query) Empty() bool { return len(q.terms)+len(q.paths)+len(q.devices)+len(q.locations) == 0 }

// And returns the query that matches what both match.
func (q Query) And(other Query) Query {
	return Query{
		terms:     slices.Concat(q.terms, other.terms),
		paths:     slices.Concat(q.paths, other.paths),
		devices:   slices.Concat(q.devices, other.devices),
		locations: slices.Concat(q.locations, other.locations),
	}
}

// SQL returns a condition on the columns name, kind, size and mtime of the table of entries, and the values of its
// placeholders. It holds for every row that [Query.Match] and [Query.MatchPath] accept, and for some that they do not. It is never empty,
// so it can stand after WHERE or AND; values never become part of its text. It counts on SQLite's LIKE as it is by
// default, without ICU and without the pragma case_sensitive_like.
func (q Query) SQL() (where string, args []any) {
	fs := q.filters()
	if len(fs) == 0 {
		return "1", nil
	}
	slices.SortStableFunc(fs, func(a, b filter) int { return b.weight - a.weight })
	parts := make([]string, len(fs))
	for i, f := range fs {
		parts[i] = f.sql
		args = append(args, f.args...)
	}
	return "(" + strings.Join(parts, " AND ") + ")", args
}

// OnlyNames reports whether the condition that [Query.SQL] returns is one on the column name alone, and not empty.
func (q Query) OnlyNames() bool {
	fs := q.filters()
	return len(fs) > 0 && !slices.ContainsFunc(fs, func(f filter) bool { return !f.names })
}

func (q Query) filters() []filter {
	var fs []filter
	for _, t := range q.terms {
		f := t.cond.filter()
		switch {
		case f.sql == "" || (t.not && !f.exact):
			continue
		case t.not:
			f.sql = "NOT " + f.sql
		}
		fs = append(fs, f)
	}
	for i := range q.paths {
		if f := q.paths[i].filter(); f.sql != "" {
			fs = append(fs, f)
		}
	}
	return fs
}

// Match reports whether e is found, as far as its Name, Kind, Size and MTime tell. See [Query.UsesPath].
func (q Query) Match(e *index.Entry) bool {
	for _, t := range q.terms {
		if t.cond.match(e) == t.not {
			return false
		}
	}
	return true
}

// MatchesDevice reports whether a device that goes by the given names (its name, and for instance its short id) is to
// be searched.
func (q Query) MatchesDevice(names ...string) bool {
	return matchNames(q.devices, names...)
}

// MatchesLocation reports whether a location of that name is to be searched.
func (q Query) MatchesLocation(name string) bool { return matchNames(q.locations, name) }

// Devices returns the names given to on: and -on:, in the case they were found in, without those that hold wildcards. A
// caller that knows all devices can tell by it that one was misspelled.
func (q Query) Devices() []string {
	var names []string
	for _, d := range q.devices {
		for _, w := range d.names {
			if !isGlob(w.pattern) {
				names = append(names, w.pattern[0].lit)
			}
		}
	}
	return names
}

// String writes the query in the language, with all times made absolute. Reading that again gives the same query,
// unless [Query.And] joined two that both restrict ext:, kind:, type:, on: or location:, which would then be added up.
func (q Query) String() string {
	var parts []string
	add := func(not bool, s string) {
		if not {
			s = "-" + s
		}
		parts = append(parts, s)
	}
	for _, t := range q.terms {
		add(t.not, t.cond.String())
	}
	for i := range q.paths {
		parts = append(parts, q.paths[i].String())
	}
	for _, d := range q.devices {
		add(d.not, list("on:", d.names, word.String))
	}
	for _, l := range q.locations {
		add(l.not, list("location:", l.names, word.String))
	}
	return strings.Join(parts, " ")
}
