package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Limits of what a child may take; only a fault lets them pass.
const (
	askTimeout  = 30 * time.Minute
	stopTimeout = time.Minute
)

// process is a device in a process of its own, seen from here.
type process struct {
	name   string
	cmd    *exec.Cmd
	cancel context.CancelFunc
	stdin  io.Closer
	out    io.Reader
	to     *json.Encoder
	from   *json.Decoder
	addr   string
}

// startProcess runs this program anew, and returns when it is ready.
func startProcess(ctx context.Context, notes io.Writer, name string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &process{name: name, cmd: exec.CommandContext(ctx, self, args...), cancel: cancel}
	p.cmd.Stderr = notes
	in, err := p.cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), in.Close())
	}
	p.stdin, p.out, p.to, p.from = in, out, json.NewEncoder(in), json.NewDecoder(out)
	a, err := p.read()
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.addr = a.Addr
	return p, nil
}

// ask gives an order and waits until it is carried out.
func (p *process) ask(o order) (answer, error) {
	if err := p.to.Encode(&o); err != nil {
		return answer{}, fmt.Errorf("%s: %s: %w", p.name, o.Do, err)
	}
	a, err := p.read()
	if err != nil {
		err = fmt.Errorf("%s: %w", o.Do, err)
	}
	return a, err
}

func (p *process) read() (a answer, err error) {
	late := time.AfterFunc(askTimeout, p.cancel)
	defer late.Stop()
	if err = p.from.Decode(&a); err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", p.name, err)
	}
	return a, err
}

// stop ends the process and waits until it has ended. Later calls do nothing.
func (p *process) stop() error {
	if p == nil || p.cmd.ProcessState != nil {
		return nil
	}
	defer p.cancel()
	late := time.AfterFunc(stopTimeout, p.cancel)
	defer late.Stop()
	err := p.stdin.Close()
	_, _ = io.Copy(io.Discard, p.out) // what nobody asked for any more
	if werr := p.cmd.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", p.name, werr))
	}
	return err
}
