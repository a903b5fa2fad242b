package api

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// ExportType is the media type of an exported file, which package archive describes.
const ExportType = "application/zstd"

// ExportTrailer is the HTTP trailer that says, as the JSON of an [Error], why an export that had begun was not finished.
const ExportTrailer = "Peerdex-Error"

// importPath is the one route whose body may be of any size.
const importPath = "/v1/import"

// ExportRequest asks for what this device holds of one location, or of all locations of a device.
type ExportRequest struct {
	// Of is a device (its name, its id, or the beginning of either) or a location (its name, path or id). What may be
	// both is written "DEVICE:" or "DEVICE:LOCATION".
	Of string
}

// Outcomes of an [ImportedLocation].
const (
	ImportDone    = "imported" // this device holds the location as the file has it
	ImportHeld    = "held"     // nothing to do: what this device holds is as new or newer
	ImportOwn     = "own"      // nothing to do: the location is this device's own
	ImportRemoved = "removed"  // nothing to do: its owner removed the location
	ImportRefused = "refused"  // see Problem; what this device holds is as it was
)

// ImportedLocation is what became of one location of a file.
type ImportedLocation struct {
	Location Location      `json:"location"` // as it is now, or, if this device does not know it, as the file describes it
	Outcome  string        `json:"outcome"`
	Problem  *Error        `json:"problem,omitempty"` // why it was refused
	Duration time.Duration `json:"duration"`          // ns
}

// ImportResult is what became of a file.
type ImportResult struct {
	Locations []ImportedLocation `json:"locations"`
	Problem   *Error             `json:"problem,omitempty"` // why the file could not be read to its end
	Bytes     int64              `json:"bytes"`             // read of the file
	Duration  time.Duration      `json:"duration"`          // ns
}

func (s *server) export(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "of")
	if err != nil {
		return err
	}
	out := &exportWriter{w: w}
	err = s.backend.Export(r.Context(), ExportRequest{Of: p.Get("of")}, out)
	if err == nil || !out.begun {
		return err
	}
	s.log.Warn("export ended early", "error", err)
	e := *requestError(r, err)
	e.Detail = e.Detail[:min(len(e.Detail), 500)] // it has to fit into a buffer of the client
	if b, err := json.Marshal(e); err == nil {
		w.Header().Set(ExportTrailer, string(b))
	}
	return nil
}

// exportWriter begins the answer with the first byte, so that an error before it has a status of its own.
type exportWriter struct {
	w     http.ResponseWriter
	begun bool
}

func (e *exportWriter) Write(b []byte) (int, error) {
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", ExportType)
		e.w.Header().Set("Trailer", ExportTrailer)
		e.w.WriteHeader(http.StatusOK)
	}
	return e.w.Write(b)
}

func (s *server) importFile(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != ExportType {
		return &Error{Code: CodeUsage, Title: "the request needs Content-Type: " + ExportType,
			Detail: fmt.Sprintf("it says %q", r.Header.Get("Content-Type"))}
	}
	v, err := s.backend.Import(r.Context(), struct{ io.Reader }{r.Body})
	if err != nil {
		return err
	}
	v.Locations = orEmpty(v.Locations)
	return writeJSON(w, http.StatusOK, v)
}
