package query

import (
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// Query is a parsed search. The zero value matches every entry of every device. It is immutable and safe for
// concurrent use. Get one from [Parse] or [Fields.Parse].
type Query struct {
	terms   []term       // all must hold
	devices []deviceTerm // all must hold
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
}

// cheap is the weight of filters on integers, which cost SQLite less than any on names.
const cheap = 1 << 20

// deviceTerm is one or several on: values, or the opposite.
type deviceTerm struct {
	not   bool
	names deviceNames
}

// Empty reports whether the query has no condition at all.
func (q Query) Empty() bool { return len(q.terms)+len(q.devices) == 0 }

// And returns the query that matches what both match.
func (q Query) And(other Query) Query {
	return Query{
		terms:   slices.Concat(q.terms, other.terms),
		devices: slices.Concat(q.devices, other.devices),
	}
}

// SQL returns a condition on the columns name, kind, size and mtime of the table of entries, and the values of its
// placeholders. It holds for every row that [Query.Match] accepts, and for some that it does not. It is never empty,
// so it can stand after WHERE or AND; values never become part of its text. It counts on SQLite's LIKE as it is by
// default, without ICU and without the pragma case_sensitive_like.
func (q Query) SQL() (where string, args []any) {
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

// Match reports whether e is found. It looks at Name, Kind, Size and MTime only, and not at devices.
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
	for _, d := range q.devices {
		if slices.ContainsFunc(names, d.names.match) == d.not {
			return false
		}
	}
	return true
}

// Devices returns the names given to on: and -on:, in the case they were found in, without those that hold * or ?. A
// caller that knows all devices can tell by it that one was misspelled.
func (q Query) Devices() []string {
	var names []string
	for _, d := range q.devices {
		for _, w := range d.names {
			if !strings.ContainsAny(w.pattern, wildcards) {
				names = append(names, w.pattern)
			}
		}
	}
	return names
}

// String writes the query in the language, with all times made absolute. Reading that again gives the same query,
// unless [Query.And] joined two that both restrict ext:, type: or on:, which would then be added up.
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
	for _, d := range q.devices {
		add(d.not, d.names.String())
	}
	return strings.Join(parts, " ")
}
