package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Module is the import path of the tree that is read.
const Module = "github.com/peerdex/peerdex"

// File is one parsed Go file.
type File struct {
	Path    string // below the module's root, with "/"
	Dir     string // folder of Path; "." for the root
	Test    bool   // a _test.go file
	Lines   int
	Imports []Import
	AST     *ast.File
	fset    *token.FileSet
}

// Import is one import of a file.
type Import struct {
	Path string
	Name string // as the file uses it: the alias, or the last element that is not a version
	Line int
}

// Local returns the import's folder below the module's root, and false if it is not of this module.
func (i Import) Local() (string, bool) {
	if i.Path == Module {
		return ".", true
	}
	return strings.CutPrefix(i.Path, Module+"/")
}

// Std reports whether the import is of the standard library: its first element has no dot.
func (i Import) Std() bool {
	first, _, _ := strings.Cut(i.Path, "/")
	return !strings.Contains(first, ".")
}

// Finding is one breach of a rule.
type Finding struct {
	Path string
	Line int // 0 = the file or folder as a whole
	What string
	Why  string // the reason of the rule
}

// String returns "path:line: what (why)".
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s (%s)", f.Path, f.Line, f.What, f.Why)
}

func (f *File) line(p token.Pos) int { return f.fset.Position(p).Line }

// Parse parses one file. It fails if src is not Go.
func Parse(name string, src []byte) (*File, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	f := &File{
		Path: name, Dir: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"),
		Lines: bytes.Count(src, []byte("\n")), AST: tree, fset: fset,
	}
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("parse %s: import %s: %w", name, spec.Path.Value, err)
		}
		im := Import{Path: p, Name: baseName(p), Line: f.line(spec.Pos())}
		if spec.Name != nil {
			im.Name = spec.Name.Name
		}
		f.Imports = append(f.Imports, im)
	}
	return f, nil
}

// baseName guesses the name of a package from its path: the last element, or the one before a version.
func baseName(p string) string {
	base := path.Base(p)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(p))
	}
	return strings.TrimPrefix(base, "go-")
}

// Load parses every Go file below root, test files too.
func Load(root fs.FS) ([]*File, error) {
	var files []*File
	err := Walk(root, func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		f, err := Parse(name, src)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// Walk calls visit for every regular file below root that belongs to the project. It leaves out .git, build
// results, and testdata, whose content is data, not text of ours.
func Walk(root fs.FS, visit func(name string) error) error {
	return fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("walk %s: %w", name, err)
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || name == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			return visit(name)
		}
		return nil
	})
}

// match reports whether dir is pattern, or, if pattern ends in "/...", is it or lies below it.
func match(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	if p, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == p || strings.HasPrefix(dir, p+"/")
	}
	return dir == pattern
}

func matchAny(patterns []string, dir string) bool {
	for _, p := range patterns {
		if match(p, dir) {
			return true
		}
	}
	return false
}
