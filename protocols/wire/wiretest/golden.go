package wiretest

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Vector is a named sequence of bytes that must never change.
type Vector struct {
	Name  string
	Bytes []byte
}

// Golden compares vectors with a file of lines "name hex", or writes the file if update is set. It returns the bytes
// in the file, by name, so that tests can also read them back.
func Golden(tb testing.TB, file string, update bool, vectors []Vector) map[string][]byte {
	tb.Helper()
	if update {
		var b strings.Builder
		for _, v := range vectors {
			b.WriteString(v.Name + " " + hex.EncodeToString(v.Bytes) + "\n")
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	want := ReadGolden(tb, file)
	if len(want) != len(vectors) {
		tb.Errorf("%s: %d vectors, want %d", file, len(want), len(vectors))
	}
	for _, v := range vectors {
		if w, ok := want[v.Name]; !ok || string(w) != string(v.Bytes) {
			tb.Errorf("%s: %s changed\n got %x\nwant %x", file, v.Name, v.Bytes, w)
		}
	}
	return want
}

// ReadGolden returns the vectors in a file that [Golden] wrote, by name.
func ReadGolden(tb testing.TB, file string) map[string][]byte {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	want := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if want[name], err = hex.DecodeString(digits); err != nil {
			tb.Fatalf("%s: %s: %v", file, name, err)
		}
	}
	return want
}
