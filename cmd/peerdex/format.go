package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

// skew is how far ahead of ours another device's clock may be before we say so.
const skew = 2 * time.Minute

// asOf says how old an answer is, in words that follow "as of": "now", "12 min ago", "3 h ago (09:41)", a date, or
// "never".
func asOf(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	local := t.Local()
	switch age := now.Sub(t); {
	case age < -skew:
		return local.Format("2 Jan 2006 15:04") + " (its clock is ahead of ours)"
	case age < time.Minute:
		return "now"
	case age < time.Hour:
		return fmt.Sprintf("%d min ago", int(age.Minutes()))
	case age < 24*time.Hour:
		return fmt.Sprintf("%d h ago (%s)", int(age.Hours()), local.Format("15:04"))
	case age < 60*24*time.Hour:
		return fmt.Sprintf("%s ago (%s)", count(int64(age.Hours()/24), "day"), local.Format("2 Jan 15:04"))
	default:
		return local.Format("2 Jan 2006")
	}
}

// dated is a modification time as a column: the time of day in the last half year, the year before that. A zero time is
// not known.
func dated(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	local := t.Local()
	if age := now.Sub(t); age >= 0 && age < 182*24*time.Hour {
		return local.Format("02 Jan 15:04")
	}
	return local.Format("02 Jan  2006")
}

// took is a duration for people: "6 ms", "1.3 s", "11 s", "2 min 5 s".
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// size is a number of bytes in three digits and a unit of 1000: "212 kB".
func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// number is an integer with separators: "212,904".
func number(n int64) string { return humanize.Comma(n) }

// count is a number and its noun: "1 file", "3 files", "2 entries".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(noun, "day") {
		return number(n) + " " + stem + "ies"
	}
	return number(n) + " " + noun + "s"
}

// kindLetter is the first letter of a long line, as in ls.
func kindLetter(k index.Kind) string {
	switch k {
	case index.KindFile:
		return "-"
	case index.KindDir:
		return "d"
	case index.KindSymlink:
		return "l"
	}
	return "?"
}

// hitColumns are the columns before a name: size and date, and before them kind and mode when long.
func hitColumns(h *api.Hit, long bool, now time.Time) string {
	s := "-"
	if h.Kind == index.KindFile {
		s = size(h.Size)
	}
	cols := fmt.Sprintf("%7s  %12s", s, dated(h.Modified, now))
	if long {
		cols = fmt.Sprintf("%s%04o  ", kindLetter(h.Kind), h.Mode) + cols
	}
	return cols
}

// renderTable lays out rows in columns, without lines.
func renderTable(header table.Row, rows []table.Row, right ...int) string {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.AppendHeader(header)
	t.AppendRows(rows)
	var cfg []table.ColumnConfig
	for _, n := range right {
		cfg = append(cfg, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(cfg)
	t.SuppressTrailingSpaces()
	return t.Render()
}
