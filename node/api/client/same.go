package client

import (
	"context"
	"net/http"

	"github.com/peerdex/peerdex/node/api"
)

// Same implements [api.Reader].
func (c *Client) Same(ctx context.Context) ([]api.Sameness, error) {
	return call[[]api.Sameness](ctx, c, http.MethodGet, "/v1/same", nil)
}

// SetSame implements [api.Backend].
func (c *Client) SetSame(ctx context.Context, r api.SameRequest) (api.Sameness, error) {
	return call[api.Sameness](ctx, c, http.MethodPost, "/v1/same", r)
}
