package query

import (
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
)

// fileKinds says which extensions a kind: stands for.
var fileKinds = [...]struct{ name, exts string }{
	{"archive", "7z ace apk ar arj bz2 cab cpio deb dmg gz iso jar lha lz lz4 lzma rar rpm tar tbz2 tgz txz xz z zip zst"},
	{"audio", "aac aif aiff alac amr ape au flac m4a m4b mid midi mka mp2 mp3 oga ogg opus wav wma wv"},
	{"code", "asm bash bat c cc clj cmake cpp cs css cxx dart el erl ex f90 go h hh hpp hs html java jl js json jsx kt lua m mjs mm " +
		"nim pas php pl pm ps1 py r rb rs s scala scss sh sql swift tcl toml ts tsx vb vue xml yaml yml zig"},
	{"doc", "azw3 csv djvu doc docx epub key md mobi numbers odp ods odt pages pdf ppt pptx ps rst rtf tex txt xls xlsx"},
	{"image", "arw avif bmp cr2 cr3 dng gif heic heif ico jpeg jpg jxl nef orf pbm pgm png ppm psd raf raw rw2 svg tga tif tiff webp xcf"},
	{"video", "3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv rm ts vob webm wmv"},
}

// content is the condition that the entry is a file of one of these kinds, as its extension tells.
type content struct {
	names []string
	exts  exts
}

func parseKind(t token, _ time.Time) (anyOf, *fault) {
	for _, k := range fileKinds {
		if k.name == strings.ToLower(t.text) {
			return content{[]string{k.name}, strings.Fields(k.exts)}, nil
		}
	}
	return nil, &fault{"not a kind", "kinds are archive, audio, code, doc, image and video"}
}

func (c content) or(o anyOf) anyOf {
	other := o.(content)
	return content{slices.Concat(c.names, other.names), slices.Concat(c.exts, other.exts)}
}

func (c content) match(e *index.Entry) bool { return e.Kind == index.KindFile && c.exts.match(e) }

func (c content) filter() filter {
	f := c.exts.filter()
	f.sql, f.names = "(kind = ? AND "+f.sql+")", false
	f.args = slices.Concat([]any{int64(index.KindFile)}, f.args)
	return f
}

func (c content) String() string {
	return list("kind:", c.names, func(s string) string { return s })
}
