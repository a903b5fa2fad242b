// Package query is the search language: it reads what a user typed, turns it into a condition for SQLite, and
// decides for each row whether it matches. The command line, the API and the web page all use this one parser.
//
// # The language
//
// A query is words and operators with spaces between them. An entry is found when all of them hold.
//
//	report 2026             the name holds both words, in any order
//	"annual report"         the name holds this phrase
//	report -draft           ... and not this word; !draft says the same
//	IMG_*.jpg  chapter-??   * is any run of characters, ? is one: the whole name must fit
//	scan[0-9].p[!d]*        [...] is one character of a set, [!...] or [^...] one that is not in it
//	docs/*.pdf              a PDF in a folder docs
//	/tank/**/*.pdf          any PDF somewhere below /tank
//	ext:jpg,png             the extension is one of these
//	size:>1G                files of more than one gigabyte
//	modified:<7d            changed within the last seven days
//	type:d                  folders
//	kind:image,video        pictures and films, by their extensions
//	name:invoice,bill       the name holds one of these
//	path:/tank/photos       this folder and all that lies below it
//	on:nas,laptop           on one of these devices
//	location:photos         in locations of this name
//	-ext:tmp  -on:phone     a "-" or "!" before an operator turns it round, too
//
// A query has at most 4096 bytes and 64 words and values.
//
// Quotes take every character as it stands: "*", "[a]" and "ext:jpg" in quotes are words. They may stand anywhere (on:"my
// nas"), and inside them \" and \\ are a quote and a backslash. Something that looks like an operator (two letters or
// more and one colon) but is not one is an error, as are "|" and a leading "(" outside quotes: their meaning is kept
// for later.
//
// # Words
//
// Words look at names. A word without upper-case letters is found in any case; a word with one must be found exactly as
// it is (smart case). "Any case" is Unicode simple folding, with one exception: ASCII letters fold to ASCII letters only,
// so k does not find the Kelvin sign. Nothing is normalised: a precomposed é and an e with a combining accent differ.
// Names may be invalid UTF-8; their bytes are compared as they are, and ? takes one such byte as a character. A bracket
// that is not closed is a character like any other, and so is ] as the first of a set.
//
// # Paths
//
// A word with a slash looks at the absolute path on its device, name by name, by the same rules of case and wildcards.
// Its last part is the entry's own name. It may begin at any folder; with a slash in front it begins at the device's root.
// Without wildcards it is a piece of the path: docs/inv finds mydocs/invoice.pdf. With one, all its parts must fit whole
// names, and a part ** stands for any number of folders, also none; at the end it stands for everything below. A slash
// parts names also in quotes, since no name holds one.
//
// # Operators
//
// A comma separates values, any of which will do; operators are joined like words. Repeating ext:, type: or on: adds
// values (ext:jpg ext:png is ext:jpg,png), since no entry has two of them, and so does kind: and location:; repeating
// size:, modified:, name: or path: narrows (size:>1M size:<5M). Operators and their values may be written in any case.
//
// ext: is what comes after the last dot, in any case, with or without its dot. A dot that begins the name does not
// count: .bashrc has none. ext: alone finds names without one. ext:tar.gz finds names that end so.
//
// size: is in bytes, or with a unit: B, K, M, G, T, P, powers of 1024 (KB, KiB and so on are the same; fractions are
// allowed: 1.5G). Only files have a size. >, >=, <, <= and = compare with exactly that number of bytes, and so do the
// ends of a range: 10M..1G, 10M.., ..1G, both ends included. A number with a unit and nothing else stands for all
// sizes that begin with it: 1M is 1M up to 2M, 1.5G is 1.5G up to 1.6G (the upper end not included). Without a unit it
// is that many bytes: size:0 finds empty files.
//
// modified: is a date, an age, or a range. A date is 2026, 2026-03, 2026-03-09, 2026-03-09T10, ...T10:00, ...T10:00:30,
// today or yesterday, and stands for that whole period, in the caller's time zone unless Z or +01:00 ends it.
// >2026-03 means after the end of March, >=2026-03 from its start, <2026-03 before its start, <=2026-03 to its end. An
// age is a whole number and a unit: s, min, h, d (24 hours), w, mo and y (by the calendar); m alone is refused, as it
// could be either. <7d is younger than seven days, and that includes times in the future, since the clocks of devices
// differ; >1y is older than a year. Ranges run from the older to the newer and include both periods: 2026-01..2026-03,
// 2025.., ..yesterday, 2w..1w (from two weeks ago until one week ago). Times before 1677 or after 2262 count as the
// first or last instant that an entry's time can have.
//
// type: is f (file), d (dir, folder), l (link, symlink) or o (other: sockets, devices and the like).
//
// kind: is archive, audio, code, doc, image or video: a file with an extension that is usual for it.
//
// name: is a word, also where it is to be one of several.
//
// path: is a folder, and finds it and all that lies below it. Like a word with a slash it may begin at any folder or at the
// root, and hold wildcards; its parts are always whole names.
//
// on: is the name of a device and location: that of a location, in any case; wildcards work as in words.
//
// # Use
//
// [Parse] reads a text, [Fields] text and flags together. [Query.SQL] is a filter that never loses a match but may let
// other rows through: [Query.Match] has the last word, and [Query.MatchPath] too if [Query.UsesPath].
// [Query.MatchesDevice] and [Query.MatchesLocation] say where to search at all.
package query
