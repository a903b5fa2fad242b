package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/peerdex/peerdex/node/api"
)

// Totals implements [api.Reader].
func (c *Client) Totals(ctx context.Context, r api.EntryRequest) (api.Totals, error) {
	return call[api.Totals](ctx, c, http.MethodGet, "/v1/totals?"+url.Values{"device": {r.Device}, "path": {r.Path}}.Encode(), nil)
}

// Policy implements [api.Backend].
func (c *Client) Policy(ctx context.Context, r api.PolicyRequest) ([]api.PolicySetting, error) {
	if r.Policy == "" && !r.Unset {
		return call[[]api.PolicySetting](ctx, c, http.MethodGet, "/v1/policy?"+url.Values{"of": {r.Of}}.Encode(), nil)
	}
	return call[[]api.PolicySetting](ctx, c, http.MethodPost, "/v1/policy", r)
}

// SyncCost implements [api.Backend].
func (c *Client) SyncCost(ctx context.Context, r api.SyncRequest) (api.SyncCost, error) {
	return call[api.SyncCost](ctx, c, http.MethodGet, "/v1/sync?"+url.Values{"location": {r.Location}}.Encode(), nil)
}

// Sync implements [api.Backend].
func (c *Client) Sync(ctx context.Context, r api.SyncRequest) (api.Location, error) {
	return call[api.Location](ctx, c, http.MethodPost, "/v1/sync", r)
}
