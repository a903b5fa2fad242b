package query

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peerdex/peerdex/index"
)

// exts is the condition that the name has one of these extensions: folded, without the dot; "" means none.
type exts []string

func parseExt(t token, _ time.Time) (anyOf, *fault) {
	if p, f := parseGlob(t); f != nil || isGlob(p) {
		return nil, &fault{"an extension can't hold *, ? or [ ]", "name several, as in ext:jpg,jpeg"}
	}
	if f := t.impossible(); f != nil {
		return nil, f
	}
	return exts{string(appendFold(nil, strings.TrimLeft(t.text, ".")))}, nil
}

func (x exts) or(o anyOf) anyOf { return slices.Concat(x, o.(exts)) }

func (x exts) match(e *index.Entry) bool {
	var buf [2 * index.MaxNameLen]byte
	name := appendFold(buf[:0], e.Name)
	return slices.ContainsFunc(x, func(ext string) bool {
		if ext == "" {
			return !hasExt(name)
		}
		dot := len(name) - len(ext) - 1
		return dot > 0 && name[dot] == '.' && string(name[dot+1:]) == ext
	})
}

// hasExt reports whether something follows the last dot of a name, which is not its first byte.
func hasExt(name []byte) bool {
	i := bytes.LastIndexByte(name, '.')
	return i > 0 && i < len(name)-1
}

// filter compares ends of names: one LIKE for a single extension, which measured fastest, and one substr for each
// group of extensions of the same length.
func (x exts) filter() filter {
	f := filter{weight: 1, names: true}
	byLen := map[int][]any{}
	var alternatives []string
	for _, ext := range x {
		switch {
		case ext == "":
			alternatives = append(alternatives, "name NOT LIKE '_%.%' OR name LIKE '%.'")
		case strings.ContainsFunc(ext, func(r rune) bool { return r >= utf8.RuneSelf }):
			return filter{}
		default:
			byLen[len(ext)] = append(byLen[len(ext)], "."+ext)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(byLen)) {
		group := byLen[n]
		if len(group) == 1 {
			alternatives = append(alternatives, "name LIKE ?")
			f.args = append(f.args, "%"+group[0].(string))
			continue
		}
		alternatives = append(alternatives,
			fmt.Sprintf("substr(name, -%d) COLLATE NOCASE IN (%s)", n+1, placeholders(len(group))))
		f.args = append(f.args, group...)
	}
	f.sql = "(" + strings.Join(alternatives, " OR ") + ")"
	return f
}

func (x exts) String() string { return list("ext:", x, quoteLit) }

// kinds is the condition that the entry is of one of these kinds.
type kinds []index.Kind

func parseType(t token, _ time.Time) (anyOf, *fault) {
	switch strings.ToLower(t.text) {
	case "f", "file":
		return kinds{index.KindFile}, nil
	case "d", "dir", "folder":
		return kinds{index.KindDir}, nil
	case "l", "link", "symlink":
		return kinds{index.KindSymlink}, nil
	case "o", "other":
		return kinds{index.KindOther}, nil
	}
	return nil, &fault{"not a type", "types are f (file), d (folder), l (link) and o (other)"}
}

func (k kinds) or(o anyOf) anyOf { return slices.Concat(k, o.(kinds)) }

func (k kinds) match(e *index.Entry) bool { return slices.Contains(k, e.Kind) }

func (k kinds) filter() filter {
	f := filter{sql: "kind IN (" + placeholders(len(k)) + ")", exact: true, weight: cheap}
	for _, kind := range k {
		f.args = append(f.args, int64(kind))
	}
	return f
}

func (k kinds) String() string { return list("type:", k, index.Kind.String) }

// names is the condition that a device or a location has one of these names. Case never matters.
type names []word

// parseWhere reads the name of a device or a location.
func parseWhere(t token, what string) (word, *fault) {
	if t.text == "" {
		return word{}, &fault{"no " + what + " named", "name one, or several with commas between them"}
	}
	w, f := parseWord(t)
	w.whole = true
	w.fold(false)
	return w, f
}

func (n names) match(name string) bool {
	return slices.ContainsFunc(n, func(w word) bool { return w.matchName(name) })
}

// list writes an operator and its values.
func list[T any](op string, values []T, text func(T) string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = text(v)
	}
	return op + strings.Join(parts, ",")
}

func placeholders(n int) string { return strings.Repeat(", ?", n)[2:] }
