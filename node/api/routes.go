package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

func (s *server) health(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	h := s.opts.Health
	h.API = Version
	return writeJSON(w, http.StatusOK, h)
}

func (s *server) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.Status(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) devices(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.Devices(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) locations(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.Locations(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) addLocation(w http.ResponseWriter, r *http.Request) error {
	var req AddRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.AddLocation(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, v)
}

func (s *server) removeLocation(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "keep")
	if err != nil {
		return err
	}
	req := RemoveRequest{Location: r.PathValue("ref")}
	if v := p.Get("keep"); v != "" {
		if req.Keep, err = strconv.ParseBool(v); err != nil {
			return &Error{Code: CodeUsage, Title: fmt.Sprintf("keep=%q is neither true nor false", v)}
		}
	}
	v, err := s.backend.RemoveLocation(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) scan(w http.ResponseWriter, r *http.Request) error {
	var req ScanRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.Scan(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) check(w http.ResponseWriter, r *http.Request) error {
	var req CheckRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.Check(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) invite(w http.ResponseWriter, r *http.Request) error {
	if err := readJSON(r, &struct{}{}); err != nil {
		return err
	}
	v, err := s.backend.Invite(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, v)
}

func (s *server) waitInvite(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.WaitInvite(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) cancelInvite(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	if err := s.backend.CancelInvite(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) join(w http.ResponseWriter, r *http.Request) error {
	var req JoinRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.Join(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) search(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "q", "ext", "kind", "location", "modified", "name", "on", "path", "size", "type", "sort", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := readLimit(p)
	if err != nil {
		return err
	}
	return s.streamHits(w, r, Query{
		Text: p.Get("q"), Ext: p["ext"], Kind: p["kind"], Location: p["location"], Modified: p["modified"], Name: p["name"], On: p["on"],
		Path: p["path"], Size: p["size"], Type: p["type"], Sort: p.Get("sort"), After: p.Get("after"), Limit: limit,
	})
}

func (s *server) searchBody(w http.ResponseWriter, r *http.Request) error {
	var q Query
	if err := readJSON(r, &q); err != nil {
		return err
	}
	return s.streamHits(w, r, q)
}

func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "device", "path", "after", "limit")
	if err != nil {
		return err
	}
	req := ListRequest{Device: p.Get("device"), Path: p.Get("path")}
	if req.Limit, err = readLimit(p); err != nil {
		return err
	}
	if req.After, err = DecodeCursor(p.Get("after")); err != nil {
		return err
	}
	v, err := s.backend.List(r.Context(), req)
	if err != nil {
		return err
	}
	v.Entries = orEmpty(v.Entries)
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) entryByPath(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "device", "path")
	if err != nil {
		return err
	}
	return s.entry(w, r, EntryRequest{Device: p.Get("device"), Path: p.Get("path")})
}

func (s *server) entryByID(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	var req EntryRequest
	err := errors.Join(req.Owner.UnmarshalText([]byte(r.PathValue("owner"))), req.Location.UnmarshalText([]byte(r.PathValue("location"))))
	if err == nil {
		req.EntryID, err = strconv.ParseInt(r.PathValue("id"), 10, 64)
	}
	if err == nil && req.EntryID <= 0 {
		err = errors.New("entries are numbered from 1 up")
	}
	if err != nil {
		return &Error{Code: CodeUsage, Title: "this names no entry", Detail: err.Error()}
	}
	return s.entry(w, r, req)
}

func (s *server) entry(w http.ResponseWriter, r *http.Request, req EntryRequest) error {
	v, err := s.backend.Entry(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) shutdown(w http.ResponseWriter, r *http.Request) error {
	if err := readJSON(r, &struct{}{}); err != nil {
		return err
	}
	if s.opts.Shutdown == nil {
		return &Error{Code: CodeDenied, Title: "this node can't be stopped through its API"}
	}
	if err := writeJSON(w, http.StatusAccepted, s.opts.Health); err != nil {
		return err
	}
	_ = http.NewResponseController(w).Flush()
	s.opts.Shutdown()
	return nil
}

// readParams reads the query string, and refuses what the route doesn't know.
func readParams(r *http.Request, known ...string) (url.Values, error) {
	p, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &Error{Code: CodeUsage, Title: "the query string can't be read", Detail: err.Error()}
	}
	for name := range p {
		if !slices.Contains(known, name) {
			return nil, &Error{Code: CodeUsage, Title: fmt.Sprintf("unknown parameter %q", name)}
		}
	}
	return p, nil
}

func readLimit(p url.Values) (int, error) {
	v := p.Get("limit")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, &Error{Code: CodeUsage, Title: fmt.Sprintf("limit=%q is not a number from 0 up", v)}
	}
	return n, nil
}

// orEmpty makes a list that is nil an empty one, so that JSON says [] and not null.
func orEmpty[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}
