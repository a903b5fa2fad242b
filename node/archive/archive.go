package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index"
)

// Format is the version of the file that this package writes, and the highest that it reads.
const Format = 1

// MaxLocations bounds the locations of one file.
const MaxLocations = 4096

const (
	maxManifest = 1 << 20 // bytes
	maxWindow   = 8 << 20 // bytes; what RFC 8878 asks of every decoder
	window      = 1 << 20 // bytes; what we write with
	block       = 512     // tar's unit
	endSize     = 2 * block
)

const manifestName = "manifest.json"

// Errors of reading. Those of the underlying reader pass through, wrapped.
var (
	// ErrFormat is returned for what is no export at all.
	ErrFormat = errors.New("this is not a file that peerdex exported")
	// ErrNewer is returned for a file of a format that this program doesn't know yet.
	ErrNewer = errors.New("the file was exported by a newer version of peerdex")
	// ErrDamaged is returned where the file, or one location of it, does not hold what the format says.
	ErrDamaged = errors.New("the file is damaged")
	// ErrTruncated is returned when the file ends before its end.
	ErrTruncated = errors.New("the file ends too early")
)

// Manifest says what a file holds.
type Manifest struct {
	Library   index.LibraryID  `json:"library"`   // of all its locations
	Locations []index.Location `json:"locations"` // 1 to [MaxLocations], all different
}

type manifestJSON struct {
	Format int `json:"format"`
	Manifest
}

func (m *Manifest) validate() error {
	if n := len(m.Locations); n < 1 || n > MaxLocations {
		return fmt.Errorf("%d locations, want 1 to %d: %w", n, MaxLocations, index.ErrInvalid)
	}
	seen := make(map[index.Location]bool, len(m.Locations))
	for _, l := range m.Locations {
		if seen[l] {
			return fmt.Errorf("location %v twice: %w", l, index.ErrInvalid)
		}
		seen[l] = true
	}
	return nil
}

func parseManifest(b []byte) (Manifest, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w (%w)", ErrFormat, err)
	}
	switch {
	case version.Format > Format:
		return Manifest{}, fmt.Errorf("format %d, this program knows %d: %w", version.Format, Format, ErrNewer)
	case version.Format != Format:
		return Manifest{}, fmt.Errorf("manifest: format %d: %w", version.Format, ErrFormat)
	}
	var m manifestJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(&m)
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w (%w)", ErrDamaged, err)
	}
	return m.Manifest, nil
}

func headName(i int) string { return fmt.Sprintf("location-%d.head", i+1) }

func snapshotName(i int) string { return fmt.Sprintf("location-%d.db", i+1) }

// header is the tar header of a member, one block.
func header(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatGNU,
	})
	return b.Bytes(), err
}

// padding is how many zeros follow a member of so many bytes.
func padding(size int64) int { return int(-size & (block - 1)) }
