package entryset

import (
	"math/rand/v2"
	"strconv"
)

// style is what the files of a folder are.
type style int

const (
	photos style = iota
	source
	office
	packages
	manuals
	music
	logs
	caches
)

// styleShares is how often each sort of folder comes up.
var styleShares = [...]style{
	photos, photos, photos, source, source, source, source, source, source, source, source, source, office, office, office,
	packages, packages, packages, manuals, manuals, manuals, manuals, music, logs, caches,
}

// namer makes names. All of one folder have its sort, and most of them its way of writing, as real ones do.
type namer struct {
	r     *rand.Rand
	b     []byte
	style style
	theme [3]string // words
	maker string    // before the number of a photo
	ext   string
	gap   string // between words
	month int    // since 2006, of dates
	count int    // number of the file before
	usual int    // the usual names that are still to come, and the next of them
	next  int
	stem  []byte // of the file before, without its extension
	last  string // that extension
}

// separators stand between words, by style.
var separators = [...][]string{
	photos: {" ", "-", "_"}, source: {"_", "_", "-", "."}, office: {" ", " ", "_", "-"}, packages: {"-"},
	manuals: {"_", "-", "-", "::"}, music: {" "}, logs: {"-", "_", "."}, caches: {""},
}

// enter begins another folder.
func (n *namer) enter() {
	n.style = pick(n.r, styleShares[:])
	for i := range n.theme {
		n.theme[i] = pick(n.r, vocabulary[:])
	}
	n.maker = pick(n.r, makers[:])
	n.ext = pick(n.r, extensions[n.style])
	n.gap = pick(n.r, separators[n.style])
	n.month, n.count = n.r.IntN(20*12), n.r.IntN(8000)
	n.usual, n.next, n.stem = n.r.IntN(4), n.r.IntN(len(usual)), n.stem[:0]
}

// extension appends the folder's own, or any that goes with it.
func (n *namer) extension() {
	n.last = n.ext
	if n.r.IntN(4) == 0 {
		n.last = pick(n.r, extensions[n.style])
	}
	n.b = append(n.b, n.last...)
}

// related makes a name like that of the file before: the same with another extension, or with a number.
func (n *namer) related() {
	n.b = append(n.b, n.stem...)
	if ext := pick(n.r, extensions[n.style]); n.r.IntN(2) == 0 && ext != n.last {
		n.b = append(n.b, ext...)
		return
	}
	n.count++
	n.b = append(n.b, n.gap...)
	n.b = strconv.AppendInt(n.b, int64(n.count%1000), 10)
	n.b = append(n.b, n.last...)
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// word appends a word: of the folder's own, any, or one beyond ASCII.
func (n *namer) word() {
	switch k := n.r.IntN(100); {
	case k < 1:
		n.b = append(n.b, pick(n.r, foreign[:])...)
	case k < 60:
		n.b = append(n.b, n.theme[k%3]...)
	default:
		n.b = append(n.b, pick(n.r, vocabulary[:])...)
	}
}

// words appends several, with what stands between them.
func (n *namer) words(count int, between string) {
	for i := range count {
		if i > 0 {
			n.b = append(n.b, between...)
		}
		n.word()
	}
}

// title makes the letter at which a word begins a capital.
func (n *namer) title(at int) {
	if at < len(n.b) && n.b[at] >= 'a' && n.b[at] <= 'z' {
		n.b[at] -= 'a' - 'A'
	}
}

// camel appends words written together, each with a capital.
func (n *namer) camel(count int) {
	for range count {
		at := len(n.b)
		n.word()
		n.title(at)
	}
}

// number appends a number below limit, with at least width digits.
func (n *namer) number(limit, width int) {
	k := n.r.IntN(limit)
	for least := 10; width > 1; width, least = width-1, least*10 {
		if k < least {
			n.b = append(n.b, '0')
		}
	}
	n.b = strconv.AppendInt(n.b, int64(k), 10)
}

// date appends a day of the folder's year, with what stands between its parts.
func (n *namer) date(between string) {
	n.b = strconv.AppendInt(n.b, int64(2006+n.month/12), 10)
	month := n.month % 12
	if n.r.IntN(4) == 0 {
		month = n.r.IntN(12)
	}
	for _, k := range [...]int{month + 1, 1 + n.r.IntN(28)} {
		n.b = append(n.b, between...)
		n.b = append(n.b, byte('0'+k/10), byte('0'+k%10))
	}
}

// clock appends a time of day in six digits.
func (n *namer) clock() {
	n.number(24, 2)
	n.number(60, 2)
	n.number(60, 2)
}

// hex appends so many hexadecimal digits.
func (n *namer) hex(count int) {
	for range count {
		n.b = append(n.b, "0123456789abcdef"[n.r.IntN(16)])
	}
}

func (n *namer) release() {
	n.number(12, 1)
	n.b = append(n.b, '.')
	n.number(40, 1)
	n.b = append(n.b, '.')
	n.number(100, 1)
}

// folder makes the name of a folder.
func (n *namer) folder() string {
	n.b = n.b[:0]
	switch k := n.r.IntN(20); {
	case k < 4:
		n.words(1, "")
	case k < 10:
		n.words(2, pick(n.r, []string{"-", "_", " ", ""}))
	case k < 12:
		n.words(3, "-")
	case k < 14:
		n.date(pick(n.r, []string{"-", "_", ""}))
	case k < 15:
		n.b = append(n.b, "v"...)
		n.release()
	case k < 16:
		n.b = append(n.b, pick(n.r, languages[:])...)
	case k < 17:
		n.hex(2 + n.r.IntN(3))
	case k < 18:
		n.date("-")
		n.b = append(n.b, ' ')
		n.words(2, " ")
	default:
		n.camel(2)
		n.number(1000, 1)
	}
	return string(n.b)
}

// file makes the name of a file in the folder entered. With rare it holds Word.
func (n *namer) file(rare bool) string {
	n.b = n.b[:0]
	switch {
	case rare:
		n.b = append(n.b, Word...)
		if n.r.IntN(2) == 0 {
			n.title(0)
		}
		n.b = append(n.b, '-')
	case n.usual > 0:
		n.usual--
		n.next = (n.next + 1) % len(usual)
		return usual[n.next]
	case len(n.stem) > 0 && n.r.IntN(2) == 0:
		n.related()
		return string(n.b)
	}
	switch n.style {
	case photos:
		n.photo()
	case source:
		n.source()
	case office:
		n.office()
	case packages:
		n.pack()
	case manuals:
		n.words(1+n.r.IntN(3), n.gap)
	case music:
		n.number(30, 2)
		n.b = append(n.b, " - "...)
		n.camel(1)
		n.b = append(n.b, ' ')
		n.words(1+n.r.IntN(3), " ")
	case logs:
		n.words(1+n.r.IntN(2), "-")
		n.b = append(n.b, n.gap...)
		n.date("-")
		if n.r.IntN(2) == 0 {
			n.b = append(n.b, 'T')
			n.clock()
		}
	case caches:
		n.hex(pick(n.r, []int{8, 8, 12, 16, 38}))
	}
	if n.stem = n.stem[:0]; !rare {
		n.stem = append(n.stem, n.b...)
	}
	n.extension()
	return string(n.b)
}

func (n *namer) photo() {
	switch k := n.r.IntN(10); {
	case k < 5:
		n.b = append(n.b, n.maker...)
		n.count += 1 + n.r.IntN(4)
		n.b = strconv.AppendInt(n.b, int64(n.count), 10)
	case k < 8:
		n.b = append(n.b, n.maker...)
		n.date("")
		n.b = append(n.b, '_')
		n.clock()
	default:
		n.words(2, n.gap)
		n.b = append(n.b, n.gap...)
		n.number(1000, 3)
	}
}

func (n *namer) source() {
	switch k := n.r.IntN(10); {
	case k < 6:
		n.words(1+n.r.IntN(3), n.gap)
	case k < 8:
		n.camel(1 + n.r.IntN(3))
	case k < 9:
		n.words(2, "-")
		n.b = append(n.b, '.')
		n.hex(8)
	default:
		n.words(2, n.gap)
		n.number(100, 1)
	}
	if n.r.IntN(6) == 0 {
		n.b = append(n.b, pick(n.r, []string{"_test", ".test", ".spec", "_impl", "_internal", ".min"})...)
	}
}

func (n *namer) office() {
	at := 0
	switch k := n.r.IntN(10); {
	case k < 3:
		n.date("-")
		n.b = append(n.b, ' ')
		at = len(n.b)
		n.words(2, n.gap)
	case k < 8:
		n.words(1+n.r.IntN(3), n.gap)
		if n.r.IntN(2) == 0 {
			n.b = append(n.b, n.gap...)
			n.number(300, 1)
		}
	default:
		n.words(1, n.gap)
		n.b = append(n.b, '-')
		n.hex(7)
	}
	n.title(at)
	if n.r.IntN(8) == 0 {
		n.b = append(n.b, pick(n.r, []string{" final", " (1)", " (2)", " - Copy", "_signed", "~"})...)
	}
}

func (n *namer) pack() {
	n.b = append(n.b, pick(n.r, []string{"lib", "lib", "python3-", "node-", "", "fonts-", "linux-"})...)
	n.words(1+n.r.IntN(2), n.gap)
	if n.r.IntN(3) == 0 {
		n.number(30, 1)
	}
	if n.r.IntN(3) == 0 {
		n.b = append(n.b, pick(n.r, []string{"-dev", "-doc", "-common", "-data", "-bin", "-utils"})...)
	}
	if n.r.IntN(3) == 0 {
		n.b = append(n.b, '_')
		n.release()
		n.b = append(n.b, pick(n.r, []string{"-1_amd64", "-2_all", "+dfsg-1_amd64", "-1+deb12u1_amd64", ""})...)
	}
}
