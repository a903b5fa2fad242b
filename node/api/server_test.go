package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// serve runs a server on a unix socket for the time of a test, and returns a client of it.
func serve(t *testing.T, m *memory, opts api.ServerOptions) (*client.Client, *httptest.Server) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if m.ended == nil {
		m.ended = make(chan struct{})
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: api.NewServer(m, opts)}}
	s.Start()
	c := client.Dial(socket)
	t.Cleanup(func() { c.Close(); s.CloseClientConnections(); s.Close() })
	return c, s
}

// TestRoundTrip makes every call through a socket: the backend must be asked what the caller asked, and the caller
// must get what the backend answered.
func TestRoundTrip(t *testing.T) {
	full := api.Query{
		Text: "a", Ext: []string{"b"}, Kind: []string{"c", "d"}, Location: []string{"e"}, Modified: []string{"f"}, Name: []string{"g"},
		On: []string{"h"}, Path: []string{"/" + badName}, Size: []string{"i"}, Type: []string{"j"}, Sort: "size-", After: "k", Limit: 5,
	}
	long := api.Query{Text: strings.Repeat("word ", 2000), Ext: []string{"pdf"}, Limit: 5}
	for _, tc := range []struct {
		name  string
		call  func(context.Context, *client.Client) (any, error)
		asked any
		want  any
	}{
		{"status", func(ctx context.Context, c *client.Client) (any, error) { return c.Status(ctx) }, "status", myStatus},
		{"devices", func(ctx context.Context, c *client.Client) (any, error) { return c.Devices(ctx) }, "devices", myStatus.Devices},
		{"locations", func(ctx context.Context, c *client.Client) (any, error) { return c.Locations(ctx) }, "locations", myStatus.Locations},
		{"add", func(ctx context.Context, c *client.Client) (any, error) {
			return c.AddLocation(ctx, api.AddRequest{Path: "/mnt/" + badName, Name: "x"})
		}, api.AddRequest{Path: "/mnt/" + badName, Name: "x"}, sampleLocation("/mnt/" + badName)},
		{"remove by path", func(ctx context.Context, c *client.Client) (any, error) {
			return c.RemoveLocation(ctx, api.RemoveRequest{Location: "/mnt/" + badName, Keep: true})
		}, api.RemoveRequest{Location: "/mnt/" + badName, Keep: true}, sampleLocation("/mnt/" + badName)},
		{"remove by a name of dots", func(ctx context.Context, c *client.Client) (any, error) {
			return c.RemoveLocation(ctx, api.RemoveRequest{Location: ".."})
		}, api.RemoveRequest{Location: ".."}, sampleLocation("..")},
		{"scan", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Scan(ctx, api.ScanRequest{Location: badName})
		}, api.ScanRequest{Location: badName}, []api.ScanResult{{Location: sampleLocation(badName), Files: 3}}},
		{"check", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Check(ctx, api.CheckRequest{Location: badName, Deep: true})
		}, api.CheckRequest{Location: badName, Deep: true},
			[]api.CheckResult{{Location: sampleLocation(badName), Problems: []string{"a", "b"}, Hint: "c"}}},
		{"export", func(ctx context.Context, c *client.Client) (any, error) {
			var b strings.Builder
			err := c.Export(ctx, api.ExportRequest{Of: "/mnt/" + badName + "&?"}, &b)
			return b.String(), err
		}, api.ExportRequest{Of: "/mnt/" + badName + "&?"}, "a file"},
		{"import", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Import(ctx, strings.NewReader("a file"))
		}, "a file", importOf(6)},
		{"import of a large file", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Import(ctx, strings.NewReader(strings.Repeat("x", 3*api.MaxBody)))
		}, strings.Repeat("x", 100), importOf(3 * api.MaxBody)},
		{"totals", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Totals(ctx, api.EntryRequest{Device: "nas", Path: "/" + badName})
		}, api.EntryRequest{Device: "nas", Path: "/" + badName}, api.Totals{Hit: sampleHit("/" + badName), Entries: 3, Folders: 1, Bytes: 1 << 40}},
		{"show a policy", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Policy(ctx, api.PolicyRequest{Of: badName})
		}, api.PolicyRequest{Of: badName}, somePolicies},
		{"set a policy", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Policy(ctx, api.PolicyRequest{Of: badName, Policy: "lazy"})
		}, api.PolicyRequest{Of: badName, Policy: "lazy"}, somePolicies},
		{"unset a policy", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Policy(ctx, api.PolicyRequest{Of: "nas", Unset: true})
		}, api.PolicyRequest{Of: "nas", Unset: true}, somePolicies},
		{"cost of a sync", func(ctx context.Context, c *client.Client) (any, error) {
			return c.SyncCost(ctx, api.SyncRequest{Location: "/" + badName})
		}, api.SyncRequest{Location: "/" + badName}, api.SyncCost{Location: sampleLocation("/" + badName), Entries: 9, Bytes: 90, Duration: 5, Provider: "nas"}},
		{"sync", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Sync(ctx, api.SyncRequest{Location: "/" + badName})
		}, "sync /" + badName, sampleLocation("/" + badName)},
		{"transfers", func(ctx context.Context, c *client.Client) (any, error) { return c.Transfers(ctx) }, "transfers", someTransfers},
		{"pause", func(ctx context.Context, c *client.Client) (any, error) {
			return c.ControlTransfers(ctx, api.TransferRequest{Action: api.PauseTransfers, Of: badName})
		}, api.TransferRequest{Action: api.PauseTransfers, Of: badName}, someTransfers},
		{"cancel all", func(ctx context.Context, c *client.Client) (any, error) {
			return c.ControlTransfers(ctx, api.TransferRequest{Action: api.CancelTransfers, All: true})
		}, api.TransferRequest{Action: api.CancelTransfers, All: true}, someTransfers},
		{"same", func(ctx context.Context, c *client.Client) (any, error) { return c.Same(ctx) }, "same", someSame},
		{"not the same", func(ctx context.Context, c *client.Client) (any, error) {
			return c.SetSame(ctx, api.SameRequest{Location: badName, With: "nas:/" + badName, Different: true})
		}, api.SameRequest{Location: badName, With: "nas:/" + badName, Different: true}, someSame[0]},
		{"invite", func(ctx context.Context, c *client.Client) (any, error) { return c.Invite(ctx) }, "invite", api.Invite{ID: "i/1", Ticket: "PDX:ABC"}},
		{"wait for an invite", func(ctx context.Context, c *client.Client) (any, error) { return c.WaitInvite(ctx, "i/1") },
			"i/1", api.InviteOutcome{Joined: true, Device: nas}},
		{"cancel an invite", func(ctx context.Context, c *client.Client) (any, error) { return nil, c.CancelInvite(ctx, "i/1") }, "cancel i/1", nil},
		{"join", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Join(ctx, api.JoinRequest{Ticket: "PDX:ABC"})
		}, api.JoinRequest{Ticket: "PDX:ABC"}, api.JoinResult{Inviter: nas, Devices: []api.Device{nas, laptop}}},
		{"list", func(ctx context.Context, c *client.Client) (any, error) {
			return c.List(ctx, api.ListRequest{Device: "nas", Path: "/" + badName, After: badName, Limit: 10})
		}, api.ListRequest{Device: "nas", Path: "/" + badName, After: badName, Limit: 10},
			api.Listing{Device: "nas", Path: "/" + badName, Next: badName, Entries: []api.Hit{sampleHit("/" + badName), sampleHit("/b")}}},
		{"search", func(ctx context.Context, c *client.Client) (any, error) {
			return collect(c.Search(ctx, api.Query{Text: "a b ext:pdf " + badName, On: []string{"nas", "x"}, Size: []string{">1M"}, Limit: 5}))
		}, api.Query{Text: "a b ext:pdf " + badName, On: []string{"nas", "x"}, Size: []string{">1M"}, Limit: 5},
			[]api.Hit{sampleHit("/" + badName), sampleHit("/b")}},
		{"every field of a search", func(ctx context.Context, c *client.Client) (any, error) { return collect(c.Search(ctx, full)) }, full,
			[]api.Hit{sampleHit("/" + badName), sampleHit("/b")}},
		{"entry by path", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Entry(ctx, api.EntryRequest{Device: "nas", Path: "/" + badName})
		}, api.EntryRequest{Device: "nas", Path: "/" + badName}, api.Entry{Hit: sampleHit("/" + badName), LocationName: "docs", Hash: []byte{1}, Seq: 9}},
		{"entry by id", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Entry(ctx, api.EntryRequest{Owner: index.DeviceID{1}, Location: index.LocationID{2}, EntryID: 7})
		}, api.EntryRequest{Owner: index.DeviceID{1}, Location: index.LocationID{2}, EntryID: 7},
			api.Entry{Hit: sampleHit("/" + badName), LocationName: "docs", Hash: []byte{1}, Seq: 9}},
		{"long search", func(ctx context.Context, c *client.Client) (any, error) { return collect(c.Search(ctx, long)) }, long,
			[]api.Hit{sampleHit("/" + badName), sampleHit("/b")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{hits: []api.Hit{sampleHit("/" + badName), sampleHit("/b")}, file: "a file"}
			c, _ := serve(t, m, api.ServerOptions{})
			got, err := tc.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.asked, m.last()); d != "" {
				t.Errorf("asked (-want +got):\n%s", d)
			}
		})
	}
}

func collect(seq func(func(api.Hit, error) bool)) (hits []api.Hit, err error) {
	for h, err := range seq {
		if err != nil {
			return hits, err
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// TestErrors sends errors of every kind through each shape of answer.
func TestErrors(t *testing.T) {
	for _, code := range []api.Code{
		api.CodeNotFound, api.CodeUsage, api.CodeFailed, api.CodeRunning, api.CodeDenied, api.CodeConflict, api.CodeUnavailable, api.CodeIncomplete, "of_a_later_version",
	} {
		want := &api.Error{Code: code, Title: "what", Detail: "why", Hint: "peerdex next"}
		m := &memory{err: want}
		c, _ := serve(t, m, api.ServerOptions{})
		_, plain := c.Status(t.Context())
		_, before := collect(c.Search(t.Context(), api.Query{}))
		m.hits = []api.Hit{sampleHit("/a")}
		hits, after := collect(c.Search(t.Context(), api.Query{}))
		if len(hits) != 1 {
			t.Errorf("%s: %d hits before the error, want 1", code, len(hits))
		}
		var event error
		for _, err := range c.Events(t.Context()) {
			event = err
		}
		for what, err := range map[string]error{"answer": plain, "search": before, "search that began": after, "events": event} {
			var got *api.Error
			if !errors.As(err, &got) {
				t.Errorf("%s, %s: %v is no *api.Error", code, what, err)
			} else if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", code, what, d)
			}
		}
	}
}

func TestUnknownErrorIsFailed(t *testing.T) {
	c, _ := serve(t, &memory{err: errors.New("disk on fire")}, api.ServerOptions{})
	_, err := c.Devices(t.Context())
	if d := cmp.Diff(&api.Error{Code: api.CodeFailed, Title: "disk on fire"}, api.AsError(err)); d != "" {
		t.Error(d)
	}
}

// TestRefusals sends what must not pass: each with the status and the code it gets.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		code                     api.Code
	}{
		{name: "origin", method: "GET", path: "/v1/status", header: http.Header{"Origin": {"http://evil.example"}}, status: 403, code: api.CodeDenied},
		{name: "origin null", method: "GET", path: "/v1/health", header: http.Header{"Origin": {"null"}}, status: 403, code: api.CodeDenied},
		{name: "empty origin", method: "GET", path: "/v1/health", header: http.Header{"Origin": {""}}, status: 403, code: api.CodeDenied},
		{name: "referer", method: "GET", path: "/v1/status", header: http.Header{"Referer": {"http://evil.example"}}, status: 403, code: api.CodeDenied},
		{name: "cross site", method: "POST", path: "/v1/shutdown", header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"application/json"}}, status: 403, code: api.CodeDenied},
		{name: "no content type", method: "POST", path: "/v1/shutdown", header: http.Header{"Content-Type": {""}}, status: 400, code: api.CodeUsage},
		{name: "form", method: "POST", path: "/v1/locations", body: `{"path":"/a"}`, header: http.Header{"Content-Type": {"text/plain"}}, status: 400, code: api.CodeUsage},
		{name: "unknown field", method: "POST", path: "/v1/join", body: `{"ticket":"x","tiket":"y"}`, status: 400, code: api.CodeUsage},
		{name: "unknown field of add", method: "POST", path: "/v1/locations", body: `{"path":"x","foo":1}`, status: 400, code: api.CodeUsage},
		{name: "unknown field of policy", method: "POST", path: "/v1/policy", body: `{"foo":1}`, status: 400, code: api.CodeUsage},
		{name: "unknown field of sync", method: "POST", path: "/v1/sync", body: `{"foo":1}`, status: 400, code: api.CodeUsage},
		{name: "unknown field of transfers", method: "POST", path: "/v1/transfers", body: `{"foo":1}`, status: 400, code: api.CodeUsage},
		{name: "unknown field of scan", method: "POST", path: "/v1/scan", body: `{"foo":1}`, status: 400, code: api.CodeUsage},
		{name: "fields where none are", method: "POST", path: "/v1/invites", body: `{"a":1}`, status: 400, code: api.CodeUsage},
		{name: "two values", method: "POST", path: "/v1/join", body: `{"ticket":"x"}{}`, status: 400, code: api.CodeUsage},
		{name: "no JSON", method: "POST", path: "/v1/join", body: `ticket`, status: 400, code: api.CodeUsage},
		{name: "import as JSON", method: "POST", path: "/v1/import", body: `{}`, status: 400, code: api.CodeUsage},
		{name: "import as a form", method: "POST", path: "/v1/import", header: http.Header{"Content-Type": {"multipart/form-data"}}, status: 400, code: api.CodeUsage},
		{name: "unknown parameter of export", method: "GET", path: "/v1/export?location=x", status: 400, code: api.CodeUsage},
		{name: "large body", method: "POST", path: "/v1/join", body: `{"ticket":"` + strings.Repeat("x", api.MaxBody) + `"}`, status: 413, code: api.CodeUsage},
		{name: "unknown parameter", method: "GET", path: "/v1/search?query=x", status: 400, code: api.CodeUsage},
		{name: "bad parameter", method: "GET", path: "/v1/search?limit=-1", status: 400, code: api.CodeUsage},
		{name: "bad query string", method: "GET", path: "/v1/search?q=%zz", status: 400, code: api.CodeUsage},
		{name: "bad keep", method: "DELETE", path: "/v1/locations/x?keep=maybe", status: 400, code: api.CodeUsage},
		{name: "bad cursor", method: "GET", path: "/v1/list?after=%25", status: 400, code: api.CodeUsage},
		{name: "bad location of an entry", method: "GET", path: "/v1/entries/x/y/1", status: 400, code: api.CodeUsage},
		{name: "entry 0", method: "GET", path: "/v1/entries/" + index.DeviceID{1}.String() + "/" + index.LocationID{2}.String() + "/0", status: 400, code: api.CodeUsage},
		{name: "no such route", method: "GET", path: "/v2/status", status: 404, code: api.CodeNotFound},
		{name: "no such method", method: "PUT", path: "/v1/status", status: 404, code: api.CodeNotFound},
		{name: "shutdown not offered", method: "POST", path: "/v1/shutdown", status: 403, code: api.CodeDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{}
			req := httptest.NewRequest(tc.method, "/", strings.NewReader(tc.body))
			req.URL.Path, req.URL.RawQuery, _ = strings.Cut(tc.path, "?")
			if tc.method == "POST" {
				req.Header.Set("Content-Type", "application/json")
			}
			for k, v := range tc.header {
				req.Header[k] = v
			}
			w := httptest.NewRecorder()
			api.NewServer(m, api.ServerOptions{}).ServeHTTP(w, req)
			var p api.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v in %q", err, w.Body)
			}
			if w.Code != tc.status || p.Code != tc.code || p.Status != tc.status || p.Type != "urn:peerdex:error:"+string(tc.code) {
				t.Errorf("status %d, problem %+v; want %d, %s", w.Code, p, tc.status, tc.code)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			if m.last() != nil {
				t.Errorf("the backend was asked %v", m.last())
			}
		})
	}
}

func TestHealthAndShutdown(t *testing.T) {
	stopped := make(chan struct{})
	want := api.Health{API: api.Version, Version: "v9", PID: 7, Dir: "/d"}
	c, _ := serve(t, &memory{}, api.ServerOptions{
		Health:   api.Health{Version: "v9", PID: 7, Dir: "/d"},
		Shutdown: func() { close(stopped) },
	})
	if got, err := c.Health(t.Context()); err != nil || got != want {
		t.Errorf("health %+v, %v; want %+v", got, err, want)
	}
	if got, err := c.Shutdown(t.Context()); err != nil || got.PID != 7 {
		t.Errorf("shutdown %+v, %v", got, err)
	}
	<-stopped
}

// TestCancelReachesBackend ends the caller's context in the middle of a stream and of a wait.
func TestCancelReachesBackend(t *testing.T) {
	for name, call := range map[string]func(context.Context, *client.Client, *memory) error{
		"events": func(ctx context.Context, c *client.Client, m *memory) (last error) {
			go func() { m.events <- api.Event{ID: 1, Type: api.EventReset} }()
			for e, err := range c.Events(ctx) {
				if e.ID == 1 {
					ctx.Value(cancelKey{}).(context.CancelFunc)()
				}
				last = err
			}
			return last
		},
		"wait": func(ctx context.Context, c *client.Client, m *memory) error {
			go func() {
				<-m.called
				ctx.Value(cancelKey{}).(context.CancelFunc)()
			}()
			_, err := c.WaitInvite(ctx, "forever")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{events: make(chan api.Event), called: make(chan struct{})}
			c, _ := serve(t, m, api.ServerOptions{})
			ctx, cancel := context.WithCancel(t.Context())
			ctx = context.WithValue(ctx, cancelKey{}, cancel)
			if err := call(ctx, c, m); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want one that wraps context.Canceled", err)
			}
			<-m.ended
		})
	}
}

type cancelKey struct{}

// TestStoppingServer ends the server's side while callers wait: they must hear that it stopped, not an answer.
func TestStoppingServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	m := &memory{ended: make(chan struct{}), called: make(chan struct{})}
	s := &http.Server{Handler: api.NewServer(m, api.ServerOptions{}), BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := client.Dial(socket)
	defer c.Close()
	go func() {
		<-m.called
		stop()
	}()
	_, err = c.WaitInvite(t.Context(), "forever")
	if e := api.AsError(err); e == nil || e.Code != api.CodeUnavailable {
		t.Errorf("error %v, want code %s", err, api.CodeUnavailable)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// TestBrokenAnswers checks that an answer cut off is never taken for a whole one.
func TestBrokenAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"cut between lines": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "{\"device\":\"nas\",\"kind\":\"file\"}\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"cut within a line": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{\"device\":") },
		"no JSON":           func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") },
		"empty error":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{\"error\":null}\n") },
		"no problem":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
			s.Start()
			defer s.Close()
			c := client.Dial(socket)
			defer c.Close()
			_, err = collect(c.Search(t.Context(), api.Query{}))
			if e := api.AsError(err); e == nil || e.Code != api.CodeFailed {
				t.Errorf("error %v, want one of code %s", err, api.CodeFailed)
			}
		})
	}
}

// TestPanic checks that a panic in the backend breaks one answer and leaves the server alive.
func TestPanic(t *testing.T) {
	m := &panicky{}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: api.NewServer(m, api.ServerOptions{})}}
	s.Start()
	defer s.Close()
	c := client.Dial(socket)
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("an answer from a backend that panicked")
	}
	if _, err := c.Devices(t.Context()); err != nil {
		t.Error(err)
	}
}

type panicky struct{ memory }

func (*panicky) Status(context.Context) (api.Status, error) { panic("boom") }

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for _, socket := range []string{filepath.Join(dir, "missing"), stale} {
		_, err := client.Dial(socket).Health(t.Context())
		want := &api.Error{Code: api.CodeNoDaemon, Title: "peerdex is not running", Hint: "peerdex up"}
		if d := cmp.Diff(want, api.AsError(err)); d != "" {
			t.Errorf("%s: %s", socket, d)
		}
	}
}
