package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"
)

// flushAfter is how long a line of a search may wait for more lines to travel with.
const flushAfter = 50 * time.Millisecond

// streamError is the last line of a stream that ends with an error.
type streamError struct {
	Error *Error `json:"error"`
}

// streamHits answers with one hit a line. An error before the first hit is a problem object with its own status.
func (s *server) streamHits(w http.ResponseWriter, r *http.Request, q Query) error {
	var out *bufio.Writer
	var enc *json.Encoder
	var flushed time.Time
	for hit, err := range s.backend.Search(r.Context(), q) {
		switch {
		case err != nil && out == nil:
			return err
		case err != nil:
			s.log.Warn("search ended early", "error", err)
			_ = enc.Encode(streamError{requestError(r, err)})
			return flush(w, out)
		case out == nil:
			startStream(w)
			out = bufio.NewWriterSize(w, 32<<10)
			enc = json.NewEncoder(out)
		}
		if enc.Encode(hit) != nil {
			return nil // the client is gone
		}
		if now := time.Now(); now.Sub(flushed) > flushAfter {
			if flush(w, out) != nil {
				return nil
			}
			flushed = now
		}
	}
	if out == nil {
		startStream(w)
		return nil
	}
	return flush(w, out)
}

// events answers with one event a line, from now on, until either side ends.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	events := s.backend.Events(r.Context()) // from here on: once the client sees our header, it misses nothing
	startStream(w)
	if http.NewResponseController(w).Flush() != nil {
		return nil
	}
	enc := json.NewEncoder(w)
	for e, err := range events {
		if err != nil {
			if r.Context().Err() == nil {
				_ = enc.Encode(streamError{AsError(err)})
			}
			return nil
		}
		if enc.Encode(e) != nil || http.NewResponseController(w).Flush() != nil {
			return nil
		}
	}
	return nil
}

func startStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
}

func flush(w http.ResponseWriter, out *bufio.Writer) error {
	if err := out.Flush(); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
