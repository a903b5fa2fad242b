package main

import (
	"testing"

	"github.com/peerdex/peerdex/node/api"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain name.txt":            "plain name.txt",
		"größe 日本 🗂.pdf":            "größe 日本 🗂.pdf",
		"👨\u200d👩\u200d👧.jpg":       "👨\u200d👩\u200d👧.jpg",
		"with\u00a0hard\u3000space": "with\u00a0hard\u3000space",
		`it's "quoted"`:             `it's "quoted"`,
		"caf\xe9":                   `"caf\xe9"`,
		"two\nlines":                `"two\nlines"`,
		"\x1b[31mred":               `"\x1b[31mred"`,
		"c1 \u009b31m":              `"c1 \u009b31m"`,
		"gpj.\u202etxt":             `"gpj.\u202etxt"`,
		"isolate \u2066x":           `"isolate \u2066x"`,
		"\ufeffbom":                 `"\ufeffbom"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"all well":         "all well",
		"two\n\tlines":     "two lines",
		"bell \a and \xe9": "bell � and �",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseDevicePath(t *testing.T) {
	for in, want := range map[string][2]string{
		"nas:/tank/a b": {"nas", "/tank/a b"},
		"nas:":          {"nas", ""},
		"nas":           {"nas", ""},
		`pc:C:\Users`:   {"pc", `C:\Users`},
		"nas:/a:b":      {"nas", "/a:b"},
		"nas:/caf\xe9":  {"nas", "/caf\xe9"},
	} {
		device, path, err := parseDevicePath(in)
		if err != nil || device != want[0] || path != want[1] {
			t.Errorf("%q: %q, %q, %v; want %q", in, device, path, err, want)
		}
	}
	for _, in := range []string{"/tank", "a/b", `\\x`, ":/tank", ":"} {
		if _, _, err := parseDevicePath(in); api.AsError(err) == nil || api.AsError(err).Code != api.CodeUsage {
			t.Errorf("%q: %v, want an error of kind usage", in, err)
		}
	}
}

func TestBaseName(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "b", "/a/b/": "b", "/": "/", "b": "b", "/a/caf\xe9": "caf\xe9"} {
		if got := baseName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
