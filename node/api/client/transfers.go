package client

import (
	"context"
	"net/http"

	"github.com/peerdex/peerdex/node/api"
)

// Transfers implements [api.Reader].
func (c *Client) Transfers(ctx context.Context) (api.Transfers, error) {
	return call[api.Transfers](ctx, c, http.MethodGet, "/v1/transfers", nil)
}

// ControlTransfers implements [api.Backend].
func (c *Client) ControlTransfers(ctx context.Context, r api.TransferRequest) (api.Transfers, error) {
	return call[api.Transfers](ctx, c, http.MethodPost, "/v1/transfers", r)
}
