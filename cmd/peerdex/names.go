package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/peerdex/peerdex/node/api"
)

// printable reports whether a rune may go to a terminal as it is. Beyond what Unicode calls printable these are the
// spaces and joiners that real names hold; controls, and marks that turn the direction of text, are not.
func printable(r rune) bool {
	switch r {
	case '\u00a0', '\u202f', '\u3000', '\u200c', '\u200d':
		return true
	}
	return unicode.IsPrint(r)
}

// needsQuotes reports whether s holds what must not go to a terminal as it is.
func needsQuotes(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !printable(r) })
}

// quote returns s for people: as it is, or in Go's quotes when it holds control characters or invalid UTF-8.
func quote(s string) string {
	if needsQuotes(s) {
		return strconv.Quote(s)
	}
	return s
}

// fullPath is the form of an entry's name that every command takes: DEVICE:PATH.
func fullPath(h *api.Hit) string { return h.Device + ":" + h.Path }

// baseName is the last part of a hit's path, with either kind of separator.
func baseName(p string) string {
	trimmed := strings.TrimRight(p, `/`)
	if i := strings.LastIndexAny(trimmed, `/`); i >= 0 {
		return trimmed[i+1:]
	}
	return p
}

// parseDevicePath splits DEVICE:PATH at the first colon. A word without a colon and without a slash is a device.
func parseDevicePath(s string) (device, path string, err error) {
	device, path, found := strings.Cut(s, ":")
	switch {
	case !found && strings.ContainsAny(s, `/\`):
		return "", "", &api.Error{Code: api.CodeUsage, Title: quote(s) + " names no device",
			Detail: "a path is written DEVICE:PATH, as in nas:/tank/photos", Hint: "peerdex devices"}
	case device == "":
		return "", "", &api.Error{Code: api.CodeUsage, Title: quote(s) + " names no device",
			Detail: "a path is written DEVICE:PATH, as in nas:/tank/photos", Hint: "peerdex devices"}
	}
	return device, path, nil
}
