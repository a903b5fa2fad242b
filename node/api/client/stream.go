package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/peerdex/peerdex/node/api"
)

// Search implements [api.Reader].
func (c *Client) Search(ctx context.Context, q api.Query) iter.Seq2[api.Hit, error] {
	p := url.Values{
		"q": {q.Text}, "ext": q.Ext, "kind": q.Kind, "location": q.Location, "modified": q.Modified, "name": q.Name, "on": q.On,
		"path": q.Path, "size": q.Size, "type": q.Type,
	}
	if q.Sort != "" {
		p.Set("sort", q.Sort)
	}
	if q.After != "" {
		p.Set("after", q.After)
	}
	if q.Limit != 0 {
		p.Set("limit", strconv.Itoa(q.Limit))
	}
	if s := p.Encode(); len(s) <= maxQueryString {
		return stream[api.Hit](ctx, c, http.MethodGet, "/v1/search?"+s, nil)
	}
	if slices.ContainsFunc(slices.Concat([]string{q.Text}, q.Name, q.Path), func(s string) bool { return !utf8.ValidString(s) }) {
		return func(yield func(api.Hit, error) bool) {
			yield(api.Hit{}, &api.Error{Code: api.CodeUsage, Title: "a query this long must be valid UTF-8"})
		}
	}
	return stream[api.Hit](ctx, c, http.MethodPost, "/v1/search", q)
}

// Events implements [api.Backend]. The daemon is asked when the first event is.
func (c *Client) Events(ctx context.Context) iter.Seq2[api.Event, error] {
	return stream[api.Event](ctx, c, http.MethodGet, "/v1/events", nil)
}

// stream makes a request whose answer is one object a line.
func stream[T any](ctx context.Context, c *Client, method, path string, body any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := c.do(ctx, method, path, body)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		in := bufio.NewReaderSize(resp.Body, 64<<10)
		var line []byte
		for {
			line, err = readLine(in, line[:0])
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(none, transportError(ctx, err))
				return
			}
			v, err := parseLine[T](line)
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// readLine reads a line, without its end, into buf. It returns io.EOF only between lines.
func readLine(in *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		buf = append(buf, part...)
		switch {
		case err == nil:
			return buf[:len(buf)-1], nil
		case errors.Is(err, bufio.ErrBufferFull) && len(buf) < maxAnswer:
		case errors.Is(err, io.EOF) && len(buf) > 0:
			return buf, io.ErrUnexpectedEOF
		default:
			return buf, fmt.Errorf("read a line: %w", err)
		}
	}
}

// errorPrefix opens the line with which a stream ends that could not be finished. No other object opens so.
var errorPrefix = []byte(`{"error":`)

func parseLine[T any](line []byte) (v T, err error) {
	if bytes.HasPrefix(line, errorPrefix) {
		var last struct {
			Error *api.Error `json:"error"`
		}
		if err := json.Unmarshal(line, &last); err != nil {
			return v, badAnswer(err)
		}
		if last.Error == nil {
			return v, badAnswer(errors.New("the stream ended with an error that says nothing"))
		}
		return v, last.Error
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return v, badAnswer(err)
	}
	return v, nil
}
