package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// closeWithin is how long answers under way may take when the daemon stops, before they are cut.
const closeWithin = 3 * time.Second

func (a *app) serveCommand() *cobra.Command {
	var f daemonFlags
	var onStdin bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground, until SIGINT, SIGTERM or "peerdex down".
It logs to standard error. With --json it prints one line of kind "ready" on
standard output once it answers. A second daemon on the same data exits with 5.

A program that starts the daemon as its child can use --shutdown-on-stdin: the
daemon then ends when its standard input is closed, also when the program was
killed.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), f, onStdin) },
	}
	f.register(c)
	c.Flags().BoolVar(&onStdin, "shutdown-on-stdin", false, "end when standard input is closed")
	return c
}

func (f *daemonFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.name, "name", "", "name of this device, used when it is created (default: the host's name)")
	flags.StringVar(&f.reach, "reach", "", `"lan" or "loopback" (environment: PEERDEX_REACH)`)
	flags.StringArrayVar(&f.peers, "peer", nil, "address of a device that is always tried: /ip4/../tcp/../p2p/.. (repeatable)")
	flags.StringArrayVar(&f.limit, "limit", nil, "cap what is sent and received, as in 1MB/s, up=500kB/s or down=none (repeatable)")
	flags.StringArrayVar(&f.listen, "listen", nil, "multiaddr to listen on (repeatable; default: by reach)")
}

// serve runs a node and its API until ctx ends or the API is told to stop. What is opened last is closed first.
func (a *app) serve(ctx context.Context, f daemonFlags, onStdin bool) (err error) {
	s, err := a.settings(f)
	if err != nil {
		return err
	}
	log := a.logger()
	n, err := node.Open(nodeConfig(s, log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := n.Start(ctx); err != nil {
		return err
	}
	l, err := listenSocket(s.paths)
	if err != nil {
		return err
	}
	if onStdin {
		go func() { // ends with the process at the latest: nothing can interrupt a read of standard input
			_, _ = io.Copy(io.Discard, a.in)
			stop()
		}()
	}
	health := api.Health{API: api.Version, Version: buildVersion(), PID: os.Getpid(), Dir: s.paths.Data, Started: a.now()}
	handler := api.NewServer(n, api.ServerOptions{Health: health, Shutdown: stop, Logger: log})
	log.Info("ready", "socket", l.Addr().String(), "data", s.paths.Data, "version", health.Version)
	if a.flags.json {
		a.printJSON(a.out, "ready", readyData{health, l.Addr().String()})
	}
	err = serveHTTP(ctx, l, handler, log)
	log.Info("stopping")
	return err
}

// readyData is what serve --json prints once it answers.
type readyData struct {
	api.Health
	Socket string `json:"socket"`
}

func nodeConfig(s settings, log *slog.Logger) node.Config {
	return node.Config{
		Dir: s.paths.Data, DeviceName: s.name, Reach: s.reach, Listen: s.listen, Peers: s.peers,
		NoMDNS: !s.mdns, MDNSInterfaces: s.mdnsInterfaces, ScanEvery: s.scanEvery, CheckEvery: s.checkEvery, Metered: s.metered,
		LimitUp: s.limitUp, LimitDown: s.limitDown,
		Logger: log, Version: buildVersion(),
	}
}

func (a *app) logger() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case a.flags.verbose:
		level = slog.LevelDebug
	case a.flags.quiet:
		level = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// listenSocket listens at the best place for the socket. The caller holds the lock of the data folder, so a socket
// that lies there is left over from a daemon that was killed.
func listenSocket(p paths) (net.Listener, error) {
	path := p.sockets[0]
	if err := makePrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of an earlier daemon: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close %s to others: %w", path, err), l.Close())
	}
	return l, nil
}

// serveHTTP serves until ctx ends, then gives answers under way a moment.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // streams and waits end with ctx
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		_ = srv.Close() // what is cut here is told so by its broken answer
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}
