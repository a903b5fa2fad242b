package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
)

// MaxBody is the size at which the server refuses the body of a request, in bytes. A file that is imported may be larger.
const MaxBody = 1 << 20

// ServerOptions is what [NewServer] needs beside a backend. The zero value works.
type ServerOptions struct {
	// Health is what GET /v1/health answers, without asking the backend.
	Health Health
	// Shutdown is called once the answer to POST /v1/shutdown is written, and must not block; nil refuses the route.
	Shutdown func()
	// Logger hears of failed and panicking requests; nil discards.
	Logger *slog.Logger
}

// server serves one backend.
type server struct {
	backend Backend
	opts    ServerOptions
	log     *slog.Logger
}

// NewServer returns the handler of all routes. It has no authentication of its own: serve it where only the user
// can connect, such as a unix socket of mode 0600. It refuses whatever a web browser could be made to send:
// requests with an Origin or a Referer, cross-origin requests as Sec-Fetch-Site tells them, and bodies that are
// not declared as what the route takes. It is safe for concurrent use and starts no goroutines.
func NewServer(b Backend, opts ServerOptions) http.Handler {
	s := &server{backend: b, opts: opts, log: opts.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	for pattern, h := range s.routes() {
		mux.Handle(pattern, s.handle(h))
	}
	mux.Handle("/", s.handle(func(_ http.ResponseWriter, r *http.Request) error {
		return &Error{Code: CodeNotFound, Title: fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path),
			Hint: "see the routes in the documentation of package api"}
	}))
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(s.handle(func(http.ResponseWriter, *http.Request) error { return errOrigin() }))
	return s.guard(cross.Handler(mux))
}

func (s *server) routes() map[string]handler {
	return map[string]handler{
		"GET /v1/health":             s.health,
		"GET /v1/status":             s.status,
		"GET /v1/devices":            s.devices,
		"GET /v1/locations":          s.locations,
		"POST /v1/locations":         s.addLocation,
		"DELETE /v1/locations/{ref}": s.removeLocation,
		"POST /v1/scan":              s.scan,
		"POST /v1/check":             s.check,
		"GET /v1/export":             s.export,
		"POST " + importPath:         s.importFile,
		"POST /v1/invites":           s.invite,
		"GET /v1/invites/{id}":       s.waitInvite,
		"DELETE /v1/invites/{id}":    s.cancelInvite,
		"POST /v1/join":              s.join,
		"GET /v1/search":             s.search,
		"POST /v1/search":            s.searchBody,
		"GET /v1/list":               s.list,
		"GET /v1/entries":            s.entryByPath,
		"GET /v1/totals":             s.totals,
		"GET /v1/policy":             s.policy,
		"POST /v1/policy":            s.setPolicy,
		"GET /v1/sync":               s.syncCost,
		"POST /v1/sync":              s.sync,
		"GET /v1/transfers":          s.transfers,
		"POST /v1/transfers":         s.controlTransfers,
		"GET /v1/same":               s.same,
		"POST /v1/same":              s.setSame,
		"GET /v1/events":             s.events,
		"POST /v1/shutdown":          s.shutdown,

		"GET /v1/entries/{owner}/{location}/{id}": s.entryByID,
	}
}

// handler answers a request, or returns an error before it wrote anything.
type handler func(http.ResponseWriter, *http.Request) error

// handle turns a handler's error into a problem object, and a panic into one where that is still possible.
func (s *server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				s.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler) // the client sees a broken answer, never a complete one
			}
		}()
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := requestError(r, err)
	status := 0
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		e, status = &Error{Code: CodeUsage, Title: fmt.Sprintf("the body is larger than %d bytes", MaxBody)}, http.StatusRequestEntityTooLarge
	}
	if e.Code == CodeFailed {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	p := NewProblem(e, status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone: nothing left to tell
}

// requestError is the error of a request. One that was cancelled while the client is still there was cancelled by the
// server's end.
func requestError(r *http.Request, err error) *Error {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return &Error{Code: CodeUnavailable, Title: "the daemon is stopping"}
	}
	return AsError(err)
}

// guard refuses what must not reach any route.
func (s *server) guard(next http.Handler) http.Handler {
	refuse := s.handle(func(http.ResponseWriter, *http.Request) error { return errOrigin() })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if len(r.Header.Values("Origin")) > 0 || len(r.Header.Values("Referer")) > 0 {
			refuse.ServeHTTP(w, r)
			return
		}
		if r.URL.Path != importPath {
			r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		}
		next.ServeHTTP(w, r)
	})
}

func errOrigin() error {
	return &Error{Code: CodeDenied, Title: "requests from web pages are refused",
		Detail: "the request carries an Origin or a Referer, or comes from another site"}
}

// readJSON reads the body of a POST into v, which stays as it is when there is no body.
func readJSON(r *http.Request, v any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Error{Code: CodeUsage, Title: "the request needs Content-Type: application/json",
			Detail: fmt.Sprintf("it says %q", r.Header.Get("Content-Type"))}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	if err := decodeStrict(bytes.NewReader(body), v); err != nil {
		return &Error{Code: CodeUsage, Title: "the body can't be read", Detail: err.Error()}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: nothing left to tell
	return nil
}
