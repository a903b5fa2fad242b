package node_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsTheExample holds the README's example to the one that is compiled here, and to fifteen lines.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(source), "func ExampleOpen() {\n")
	body, _, closed := strings.Cut(body, "\n}\n")
	if !ok || !closed {
		t.Fatal("ExampleOpen is not where it was")
	}
	lines := strings.Split(body, "\n")
	if len(lines) > 15 {
		t.Errorf("ExampleOpen has %d lines, 15 are allowed", len(lines))
	}
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "\t")
	}
	if !strings.Contains(string(readme), "```go\n"+strings.Join(lines, "\n")+"\n```") {
		t.Error("the README shows another example than example_test.go")
	}
}
