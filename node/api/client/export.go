package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/peerdex/peerdex/node/api"
)

// Export implements [api.Reader]. What was written before an error is not a whole file.
func (c *Client) Export(ctx context.Context, r api.ExportRequest, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/v1/export?"+url.Values{"of": {r.Of}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, source{resp.Body}); err != nil {
		if e, ok := errors.AsType[*sourceError](err); ok {
			return transportError(ctx, e.cause)
		}
		return fmt.Errorf("write the export: %w", err)
	}
	late := resp.Trailer.Get(api.ExportTrailer)
	if late == "" {
		return nil
	}
	var e api.Error
	if err := json.Unmarshal([]byte(late), &e); err != nil {
		return badAnswer(err)
	}
	return &e
}

// Import implements [api.Backend]. It reads r from another goroutine, which may still wait in a Read of it when the
// daemon has answered early.
func (c *Client) Import(ctx context.Context, r io.Reader) (api.ImportResult, error) {
	var out api.ImportResult
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peerdex/v1/import", source{r})
	if err != nil {
		return out, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", api.ExportType)
	resp, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*sourceError](err); ok {
			return out, fmt.Errorf("read the file: %w", e.cause)
		}
		return out, transportError(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, readProblem(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out); err != nil {
		return out, badAnswer(err)
	}
	return out, nil
}

// source marks the errors of a reader, so that they can be told from those of whoever copies from it.
type source struct{ r io.Reader }

type sourceError struct{ cause error }

func (e *sourceError) Error() string { return e.cause.Error() }
func (e *sourceError) Unwrap() error { return e.cause }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	return n, err
}
