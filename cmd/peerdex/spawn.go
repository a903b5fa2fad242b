package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
)

const (
	startWithin = 60 * time.Second // a start that takes longer is an error: migrating and checking included
	stopWithin  = 60 * time.Second
	pollEvery   = 20 * time.Millisecond
	maxLog      = 10 << 20 // bytes at which the log is put aside when the daemon starts
)

// selfPath finds the program to run as the daemon: the one this process was called as, so that a link or a copy
// under another name stays what it is.
func selfPath() (string, error) {
	if p, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(p)
	}
	p, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find our own program: %w", err)
	}
	return p, nil
}

// child is a daemon that this process started.
type child struct {
	cmd  *exec.Cmd
	log  string
	from int64         // size of the log before it started
	done chan struct{} // closed when the process has ended
	err  error         // of the process, valid once done is closed
}

// start runs cmd with its standard error at the end of a log file.
func start(cmd *exec.Cmd, log string) (*child, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the log: %w", err)
	}
	if fi, err := os.Stat(log); err == nil && fi.Size() > maxLog {
		if err := os.Rename(log, log+".1"); err != nil {
			return nil, fmt.Errorf("put the old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer f.Close()
	from, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	cmd.Stderr = f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	c := &child{cmd: cmd, log: log, from: from, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// waitReady waits until the child answers, and returns a client of it. When the child ends before, the error says
// what its log says, with the child's exit code.
func (c *child) waitReady(ctx context.Context, p paths) (*client.Client, api.Health, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, errTooLong)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		cl, h, err := dialDaemon(ctx, p)
		if err == nil {
			return cl, h, nil
		}
		if api.AsError(err).Code != api.CodeNoDaemon && ctx.Err() == nil {
			return nil, h, err
		}
		select {
		case <-c.done:
			return nil, h, c.failure()
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errTooLong) {
				return nil, h, &api.Error{Code: api.CodeFailed, Title: "the daemon does not answer after " + took(startWithin),
					Detail: "it goes on starting in the background", Hint: "peerdex status, or look at " + c.log}
			}
			return nil, h, ctx.Err()
		}
	}
}

var errTooLong = errors.New("it took too long")

// failure is the error of a child that ended by itself, read from the end of its log.
func (c *child) failure() error {
	e := &api.Error{Code: api.CodeFailed, Title: "the daemon ended while it started", Hint: "look at " + c.log}
	switch c.cmd.ProcessState.ExitCode() {
	case exitUsage:
		e.Code = api.CodeUsage
	case exitRunning:
		e.Code = api.CodeRunning
	case exitDenied:
		e.Code = api.CodeDenied
	}
	f, err := os.Open(c.log)
	if err != nil {
		return e
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, c.from, maxLog))
	if err != nil {
		return e
	}
	const mark = "error: "
	i := bytes.LastIndex(b, []byte("\n"+mark))
	if !bytes.HasPrefix(b, []byte(mark)) && i < 0 {
		return e
	}
	lines := strings.Split(strings.TrimSpace(string(b[i+1:])), "\n")
	e.Title = strings.TrimPrefix(lines[0], mark)
	for n, l := range lines[1:] {
		l = strings.TrimPrefix(l, "  ")
		if hint, ok := strings.CutPrefix(l, "try: "); ok || n == 1 {
			e.Hint = hint
		} else {
			e.Detail = l
		}
	}
	return e
}

// waitGone waits until a process has ended.
func waitGone(ctx context.Context, pid int) error {
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-tick.C:
		case <-limit.C:
			return &api.Error{Code: api.CodeFailed, Title: fmt.Sprintf("the daemon (pid %d) does not end", pid),
				Detail: "it was told to, " + took(stopWithin) + " ago"}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
