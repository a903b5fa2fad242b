package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/peerdex/peerdex/node/api"
)

// maxAnswer bounds an answer that is read whole, and one line of a stream, in bytes: far above what a daemon sends.
const maxAnswer = 256 << 20

// maxQueryString is the length from which a search travels in a body, in bytes.
const maxQueryString = 4 << 10

// Client speaks to one daemon. It is safe for concurrent use. Create it with [Dial].
type Client struct {
	http *http.Client
}

var _ api.Backend = (*Client)(nil)

// Dial returns a client of the daemon that listens on a unix socket. It connects when the first call is made.
func Dial(socketPath string) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socketPath)
		},
		DisableCompression: true, // it would only cost time on one machine
	}
	return &Client{http: &http.Client{Transport: t}}
}

// Close closes idle connections. Calls under way go on; later calls connect anew.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health asks whether a daemon answers, and which.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	return call[api.Health](ctx, c, http.MethodGet, "/v1/health", nil)
}

// Shutdown tells the daemon to stop. It returns once the daemon said that it will, with what [Client.Health] says;
// the process ends a little later.
func (c *Client) Shutdown(ctx context.Context) (api.Health, error) {
	return call[api.Health](ctx, c, http.MethodPost, "/v1/shutdown", struct{}{})
}

// Status implements [api.Reader].
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return call[api.Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Devices implements [api.Reader].
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) {
	return call[[]api.Device](ctx, c, http.MethodGet, "/v1/devices", nil)
}

// Locations implements [api.Reader].
func (c *Client) Locations(ctx context.Context) ([]api.Location, error) {
	return call[[]api.Location](ctx, c, http.MethodGet, "/v1/locations", nil)
}

// AddLocation implements [api.Backend].
func (c *Client) AddLocation(ctx context.Context, r api.AddRequest) (api.Location, error) {
	return call[api.Location](ctx, c, http.MethodPost, "/v1/locations", r)
}

// RemoveLocation implements [api.Backend].
func (c *Client) RemoveLocation(ctx context.Context, r api.RemoveRequest) (api.Location, error) {
	return call[api.Location](ctx, c, http.MethodDelete,
		"/v1/locations/"+segment(r.Location)+"?keep="+strconv.FormatBool(r.Keep), nil)
}

// Scan implements [api.Backend].
func (c *Client) Scan(ctx context.Context, r api.ScanRequest) ([]api.ScanResult, error) {
	return call[[]api.ScanResult](ctx, c, http.MethodPost, "/v1/scan", r)
}

// Check implements [api.Reader].
func (c *Client) Check(ctx context.Context, r api.CheckRequest) ([]api.CheckResult, error) {
	return call[[]api.CheckResult](ctx, c, http.MethodPost, "/v1/check", r)
}

// Invite implements [api.Backend].
func (c *Client) Invite(ctx context.Context) (api.Invite, error) {
	return call[api.Invite](ctx, c, http.MethodPost, "/v1/invites", struct{}{})
}

// WaitInvite implements [api.Backend].
func (c *Client) WaitInvite(ctx context.Context, id string) (api.InviteOutcome, error) {
	return call[api.InviteOutcome](ctx, c, http.MethodGet, "/v1/invites/"+segment(id), nil)
}

// CancelInvite implements [api.Backend].
func (c *Client) CancelInvite(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, "/v1/invites/"+segment(id), nil)
	return err
}

// Join implements [api.Backend].
func (c *Client) Join(ctx context.Context, r api.JoinRequest) (api.JoinResult, error) {
	return call[api.JoinResult](ctx, c, http.MethodPost, "/v1/join", r)
}

// List implements [api.Reader].
func (c *Client) List(ctx context.Context, r api.ListRequest) (api.Listing, error) {
	p := url.Values{"device": {r.Device}, "path": {r.Path}}
	if r.After != "" {
		p.Set("after", api.EncodeCursor(r.After))
	}
	if r.Limit != 0 {
		p.Set("limit", strconv.Itoa(r.Limit))
	}
	return call[api.Listing](ctx, c, http.MethodGet, "/v1/list?"+p.Encode(), nil)
}

// Entry implements [api.Reader].
func (c *Client) Entry(ctx context.Context, r api.EntryRequest) (api.Entry, error) {
	path := "/v1/entries?" + url.Values{"device": {r.Device}, "path": {r.Path}}.Encode()
	if r.EntryID != 0 {
		path = "/v1/entries/" + r.Owner.String() + "/" + r.Location.String() + "/" + strconv.FormatInt(r.EntryID, 10)
	}
	return call[api.Entry](ctx, c, http.MethodGet, path, nil)
}

// call makes one request and reads its whole answer.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (v T, err error) {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return v, transportError(ctx, err)
	}
	if resp.StatusCode == http.StatusNoContent {
		return v, nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, badAnswer(err)
	}
	return v, nil
}

// do makes a request and returns its answer when the status is one of success, else the error it carries.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if method == http.MethodPost {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://peerdex"+path, r)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readProblem(resp)
}

func readProblem(resp *http.Response) error {
	var p api.Problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxBody))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Code == "" {
		return badAnswer(fmt.Errorf("status %s without a problem object", resp.Status))
	}
	return &p.Error
}

// transportError turns a failure to reach the daemon into what a user can act on.
func transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask the daemon: %w", ctx.Err())
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return &api.Error{Code: api.CodeNoDaemon, Title: "peerdex is not running", Hint: "peerdex up"}
	}
	return &api.Error{Code: api.CodeFailed, Title: "the daemon did not answer to the end",
		Detail: err.Error() + "; it may have just stopped", Hint: "peerdex status"}
}

func badAnswer(err error) error {
	return &api.Error{Code: api.CodeFailed, Title: "the daemon's answer can't be read",
		Detail: err.Error() + "; it may be another version", Hint: "peerdex down && peerdex up"}
}

// segment escapes s as one segment of a path. Dots are escaped too where they would be taken for a step.
func segment(s string) string {
	if strings.Trim(s, ".") == "" {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}
