package entryset

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// Attributes made up for all sets.
const (
	maxSizeBits = 32                        // sizes of files are below 2^32
	timeFrom    = 1_136_073_600_000_000_000 // 2006, in ns since 1970
	timeSpan    = 20 * 365 * 24 * 3600 * 1_000_000_000
)

// depthShares is the share of entries at each depth from 1 on, in thousandths: a hump around 7 with a long tail, like
// the trees of an operating system and of home folders. Those left over are at the last depth.
var depthShares = [...]int64{1, 6, 25, 70, 135, 175, 185, 155, 110, 70, 36, 18, 8, 4, 2}

// childShares is how many folders, in ten thousandths, hold so many entries that the number has 1, 2, 3... binary
// digits. It was counted on the packages of a Debian system: most folders are small, few are very large.
var childShares = [...]int64{2150, 3420, 2540, 1080, 450, 180, 98, 62, 12, 6, 1, 1}

const (
	entriesAFolder = 9    // for each folder, so many entries in the level below
	listed         = 1000 // entries of the folder for listings
	listedLevel    = 7    // its entries are at this depth
	rareHits       = 1000 // names with Word
)

// Set is a set of entries; make one with [Generate] or [ReadPaths]. It is safe for concurrent use.
type Set struct {
	n    int64
	word string
	rows iter.Seq2[index.Entry, error]
}

// Len is the number of entries, without the root.
func (s *Set) Len() int64 { return s.n }

// Word is a term, in lower case, that about 1,000 names hold, or as close to it as the set has one; "" if no name has a
// word of five letters.
func (s *Set) Word() string { return s.word }

// Entries yields the entries in walk order, the same ones each time. Seqs are 0: the store gives them.
func (s *Set) Entries() iter.Seq2[index.Entry, error] { return s.rows }

// Generate returns the set of n entries of a seed. Nothing is held in memory but 8 bytes for each folder of two
// levels of the tree, while entries are asked for.
func Generate(n int64, seed uint64) (*Set, error) {
	if n < 1 || n > index.MaxCount-1 {
		return nil, fmt.Errorf("%d entries: %w", n, index.ErrInvalid)
	}
	rows := func(yield func(index.Entry, error) bool) {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		g := generator{total: n, left: n, r: r, names: namer{r: r}, next: index.RootID + 1, yield: yield}
		g.all()
	}
	return &Set{n: n, word: Word, rows: rows}, nil
}

// generator makes up a tree level by level.
type generator struct {
	total int64
	left  int64 // entries of the levels not yet begun
	r     *rand.Rand
	names namer
	next  int64 // id
	yield func(index.Entry, error) bool

	kids []index.Entry // of one folder
	made int64         // entries so far
	rare int64         // those among them that hold Word
}

// all yields every level. The number of entries and of folders in each is fixed beforehand; who holds how many of them
// is drawn.
func (g *generator) all() {
	parents := []int64{index.RootID}
	for level := 0; g.left > 0; level++ {
		l := draw{entries: g.levelSize(level)}
		g.left -= l.entries
		l.folders = min(l.entries, (g.levelSize(level+1)+entriesAFolder-1)/entriesAFolder)
		if parents = g.level(parents, l, level+1 == listedLevel); parents == nil {
			return
		}
	}
}

// levelSize is the number of entries in a level, counted from 0, when all that are left go there and below.
func (g *generator) levelSize(level int) int64 {
	if level >= len(depthShares) {
		return g.left
	}
	var below int64
	for _, s := range depthShares[level:] {
		below += s
	}
	return min(g.left, max(1, g.left*depthShares[level]/below))
}

// draw is what is left to be given out of a level.
type draw struct{ entries, folders int64 }

// level yields one level and returns its folders, nil once the taker has enough.
func (g *generator) level(parents []int64, l draw, listing bool) []int64 {
	folders := make([]int64, 0, l.folders)
	for i, parent := range parents {
		count := g.children(l.entries, int64(len(parents)-i))
		if listing && i == 0 && len(parents) > 1 {
			count = max(1, min(listed, g.total/20, l.entries-int64(len(parents))+1))
		}
		g.folder(parent, count, &l)
		for j := range g.kids {
			e := &g.kids[j]
			e.ID = g.next
			g.next++
			if e.Kind == index.KindDir {
				folders = append(folders, e.ID)
			}
			if !g.yield(*e, nil) {
				return nil
			}
		}
	}
	return folders
}

// children draws how many of the entries left in a level the next of so many folders holds. All hold one or more.
func (g *generator) children(entries, folders int64) int64 {
	if folders == 1 {
		return entries
	}
	k, digits := g.r.Int64N(10_000), 0
	for ; k >= childShares[digits]; digits++ {
		k -= childShares[digits]
	}
	drawn := int64(1)<<digits + g.r.Int64N(1<<digits)
	// The mean of what is drawn is 9.125; it is brought to that of the level.
	mean := folders * 9125
	return max(1, min(entries-folders+1, (drawn*entries*1000+g.r.Int64N(mean))/mean))
}

// folder makes up the entries of a folder, but for their ids.
func (g *generator) folder(parent, count int64, l *draw) {
	g.names.enter()
	g.kids = g.kids[:0]
	hits := max(1, min(rareHits, g.total/20))
	for range count {
		e := index.Entry{Parent: parent, Kind: index.KindFile}
		g.made++
		if g.r.Int64N(l.entries) < l.folders {
			l.folders--
			e.Kind, e.Name = index.KindDir, g.names.folder()
		} else {
			rare := g.rare*g.total < g.made*hits && g.rare < hits
			if rare {
				g.rare++
			}
			e.Name = g.names.file(rare)
			switch k := g.r.IntN(1000); {
			case k < 20:
				e.Kind = index.KindSymlink
			case k < 21:
				e.Kind = index.KindOther
			}
		}
		l.entries--
		attributes(g.r, &e)
		g.kids = append(g.kids, e)
	}
	sortNames(g.kids)
}

// sortNames sorts the entries of a folder by name, and gives those with the name of another a number.
func sortNames(kids []index.Entry) {
	for same := true; same; {
		slices.SortFunc(kids, func(a, b index.Entry) int { return strings.Compare(a.Name, b.Name) })
		same = false
		for i := 1; i < len(kids); i++ {
			if kids[i].Name == kids[i-1].Name {
				same = true
				kids[i].Name += "." + strconv.Itoa(i)
			}
		}
	}
}

// attributes makes up size, time and mode of an entry.
func attributes(r *rand.Rand, e *index.Entry) {
	e.MTime = timeFrom + r.Int64N(timeSpan)
	switch e.Kind {
	case index.KindFile:
		e.Size = logUniform(r)
		e.Mode = cmp.Or(fileModes[r.IntN(len(fileModes))], 0o644)
	case index.KindSymlink:
		e.Size, e.Mode = 4+r.Int64N(60), 0o777
	case index.KindDir:
		e.Mode = cmp.Or(folderModes[r.IntN(len(folderModes))], 0o755)
	default:
		e.Mode = 0o660
	}
}

// logUniform draws a size: every doubling is as likely as any other. It uses integers only, so that all machines
// draw the same.
func logUniform(r *rand.Rand) int64 {
	lowest := int64(1) << r.IntN(maxSizeBits)
	return lowest + r.Int64N(lowest)
}

// Modes of files and of folders; nearly all have the usual one.
var (
	fileModes   = [...]uint32{20: 0o755, 0o755, 0o600, 0o664}
	folderModes = [...]uint32{20: 0o700, 0o775}
)
