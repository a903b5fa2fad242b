package store

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples stands for the parts of statements that are made when the program runs.
var examples = map[string]string{"table": "entries", "one": "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", "fresh": "fresh0"}

// statements finds every SQL statement in the sources of this package, by file: what begins as one, put together from
// literals and constants.
func statements(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	r := sqlReader{consts: map[string]ast.Expr{}, out: map[string][]string{}}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				r.declare(g)
			}
		}
		parsed = append(parsed, f)
	}
	for i, f := range parsed {
		names := slices.DeleteFunc(slices.Clone(files), func(n string) bool { return strings.HasSuffix(n, "_test.go") })
		r.file = names[i]
		ast.Inspect(f, r.visit)
	}
	return r.out
}

// sqlReader collects statements.
type sqlReader struct {
	consts map[string]ast.Expr
	file   string
	out    map[string][]string
}

func (r *sqlReader) declare(g *ast.GenDecl) {
	for _, s := range g.Specs {
		if v, ok := s.(*ast.ValueSpec); ok && g.Tok == token.CONST {
			for i, name := range v.Names {
				if i < len(v.Values) {
					r.consts[name.Name] = v.Values[i]
				}
			}
		}
	}
}

func (r *sqlReader) visit(n ast.Node) bool {
	e, ok := n.(ast.Expr)
	if !ok {
		return true
	}
	switch e.(type) {
	case *ast.BasicLit, *ast.BinaryExpr:
	default:
		return true
	}
	text := r.text(e)
	for _, verb := range []string{"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "} {
		if strings.HasPrefix(text, verb) {
			for _, one := range strings.Split(text, "; ") {
				if one = strings.TrimSpace(one); !slices.Contains(r.out[r.file], one) {
					r.out[r.file] = append(r.out[r.file], one)
				}
			}
			return false
		}
	}
	return true
}

// text puts a string together. What is not constant is an example, or "1", which stands for a condition.
func (r *sqlReader) text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return strings.ReplaceAll(s, "%s.", "main.")
		}
	case *ast.ParenExpr:
		return r.text(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return r.text(e.X) + r.text(e.Y)
		}
	case *ast.Ident:
		if c, ok := r.consts[e.Name]; ok {
			return r.text(c)
		}
		if s, ok := examples[e.Name]; ok {
			return s
		}
	case *ast.CallExpr: // strings.Repeat(one+", ", n): the rows of a bulk insert but the last
		return ""
	}
	return "1"
}

// planDB returns a connection that has every schema a statement may be for.
func planDB(t *testing.T) *conn {
	t.Helper()
	dir := t.TempDir()
	open := func(name string, appID, version int, scripts ...string) *conn {
		c, err := openConn(filepath.Join(dir, name), accessScratch)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.create(appID, version, scripts...); err != nil {
			t.Fatal(err)
		}
		return c
	}
	location := []string{schema("location.sql"), schema("location_index.sql")}
	for name, scripts := range map[string][]string{"node.db": {schema("node.sql")}, "cache.db": {schema("cache.sql")}, "other.db": location} {
		if err := open(name, locationAppID, locationVersion, scripts...).close(); err != nil {
			t.Fatal(err)
		}
	}
	c := open("main.db", locationAppID, locationVersion, location...)
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	for name, file := range map[string]string{"node": "node.db", "cache": "cache.db", "src": "other.db", "other": "other.db", "staged": "other.db"} {
		if err := c.script("ATTACH '" + filepath.Join(dir, file) + "' AS " + name); err != nil {
			t.Fatal(err)
		}
	}
	fresh := newFreshRows(c)
	t.Cleanup(func() {
		if err := fresh.close(); err != nil {
			t.Error(err)
		}
	})
	if err := fresh.open(); err != nil {
		t.Fatal(err)
	}
	return c
}

// plan is what SQLite does for a statement, a line each step.
func plan(c *conn, sql string) (string, error) {
	depth := map[int64]int64{0: 0}
	var b strings.Builder
	for row, err := range c.query(context.Background(), "EXPLAIN QUERY PLAN "+sql) {
		if err != nil {
			return "", err
		}
		id, _ := row[0].(int64)
		parent, _ := row[1].(int64)
		depth[id] = depth[parent] + 1
		fmt.Fprintf(&b, "    %s%v\n", strings.Repeat("  ", int(depth[id])), row[3])
	}
	return b.String(), nil
}

// TestPlans compares how SQLite reads for every statement of this package, and for searches, with a golden file: so a
// lost index, or a statement that has none, is seen. The planner knows our schema only, as always.
func TestPlans(t *testing.T) {
	c := planDB(t)
	if n, err := c.int("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'"); n != 0 || err != nil {
		t.Fatalf("%d tables of statistics: plans would depend on data (%v)", n, err)
	}
	all := statements(t)
	for _, text := range []string{"report", "Report", "*.jpg", "größe отчёт", "ext:jpg,tar.gz", "kind:image size:>1M modified:<7d type:f", "docs/*.pdf", "path:docs"} {
		q := mustQuery(t, text)
		where, _ := q.SQL()
		all["searches"] = append(all["searches"], searchSQL(where, Order{}))
		if q.OnlyNames() {
			all["searches"] = append(all["searches"], byNameSQL(where))
		}
	}
	for _, by := range []OrderBy{ByName, BySize, ByTime} {
		where, _ := mustQuery(t, "report").SQL()
		all["searches"] = append(all["searches"], searchSQL(where, Order{By: by}))
	}
	slices.Sort(all["searches"])
	all["searches"] = slices.Compact(all["searches"])
	var b bytes.Buffer
	n := 0
	for _, file := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s\n", file)
		for _, sql := range all[file] {
			p, err := plan(c, sql)
			if err != nil {
				t.Errorf("%s: %s: %v", file, sql, err)
			}
			fmt.Fprintf(&b, "  %s\n%s", strings.ReplaceAll(sql, entryColumns, "COLUMNS"), p)
			n++
		}
	}
	if n < 80 {
		t.Errorf("only %d statements were found", n)
	}
	golden := filepath.Join("testdata", "plans.txt")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("plans changed (-want +got); if that is meant, -update:\n%s", d)
	}
}
