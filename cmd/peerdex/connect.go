package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
)

// daemon returns a client of the running daemon, or an error of kind no_daemon.
func (a *app) daemon(ctx context.Context) (*client.Client, error) {
	p, err := a.paths()
	if err != nil {
		return nil, err
	}
	c, _, err := dialDaemon(ctx, p)
	if e := api.AsError(err); e != nil && e.Code == api.CodeNoDaemon && !isSetUp(p) {
		return nil, notSetUp(p)
	}
	return c, err
}

// dialDaemon returns a client of the daemon of p, and what the daemon says of itself.
func dialDaemon(ctx context.Context, p paths) (c *client.Client, h api.Health, err error) {
	for _, socket := range p.sockets {
		c = client.Dial(socket)
		if h, err = c.Health(ctx); err == nil {
			err = checkHealth(h, p)
		}
		if err == nil {
			return c, h, nil
		}
		c.Close()
		if api.AsError(err).Code != api.CodeNoDaemon {
			break
		}
	}
	return nil, h, err
}

// checkHealth refuses a daemon that we can't speak to, or that is not the one we look for.
func checkHealth(h api.Health, p paths) error {
	switch {
	case h.API != api.Version:
		return &api.Error{Code: api.CodeFailed, Title: fmt.Sprintf("the running daemon is another version (%s)", h.Version),
			Detail: "it was started before peerdex was replaced", Hint: "peerdex down && peerdex up"}
	case h.Dir != p.Data:
		return &api.Error{Code: api.CodeFailed, Title: "the daemon behind " + p.Socket + " works on other data",
			Detail: "on " + h.Dir + ", not on " + p.Data}
	}
	return nil
}

// reader returns what answers reading commands: the daemon, or the data folder itself when no daemon runs.
func (a *app) reader(ctx context.Context) (r api.Reader, release func(), err error) {
	p, err := a.paths()
	if err != nil {
		return nil, nil, err
	}
	c, _, err := dialDaemon(ctx, p)
	if err == nil {
		return c, c.Close, nil
	}
	if api.AsError(err).Code != api.CodeNoDaemon {
		return nil, nil, err
	}
	if !isSetUp(p) {
		return nil, nil, notSetUp(p)
	}
	f, err := node.OpenReader(p.Data)
	if err != nil {
		return nil, nil, err
	}
	a.detail("read from %s without the daemon", p.Data)
	return f, func() {
		if err := f.Close(); err != nil {
			a.detail("close the data folder: %v", err)
		}
	}, nil
}

// isSetUp reports whether a device was ever created in the data folder.
func isSetUp(p paths) bool {
	_, err := os.Lstat(filepath.Join(p.Data, "node.db"))
	return !errors.Is(err, os.ErrNotExist)
}

func notSetUp(p paths) error {
	return &api.Error{Code: api.CodeNoDaemon, Title: "peerdex is not set up here yet", Detail: "there is no device in " + p.Data,
		Hint: "peerdex up FOLDER"}
}
