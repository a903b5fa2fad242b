package node

import (
	"context"
	"errors"
	"sync"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/scrub"
)

// errTaken ends a scan or a commit whose location is being removed.
var errTaken = errors.New("the location is being removed")

// work lets one scan or commit of a location run at a time, and ends it when the node closes.
type work struct {
	node   context.Context // ends with the node
	active *scrub.Activity

	mu   sync.Mutex
	jobs map[index.Location]*job
}

type job struct {
	turn   chan struct{} // holds a token while somebody works
	cancel context.CancelCauseFunc
}

func newWork(node context.Context, active *scrub.Activity) *work {
	return &work{node: node, active: active, jobs: map[index.Location]*job{}}
}

// begin waits for its turn. The context it returns ends with ctx, with the node, or when somebody takes the location.
func (w *work) begin(ctx context.Context, l index.Location) (context.Context, func(), error) {
	w.mu.Lock()
	j := w.jobs[l]
	if j == nil {
		j = &job{turn: make(chan struct{}, 1)}
		w.jobs[l] = j
	}
	w.mu.Unlock()
	select {
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-w.node.Done():
		return nil, nil, context.Cause(w.node)
	}
	idle := w.active.Begin()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.node, func() { cancel(context.Cause(w.node)) })
	w.mu.Lock()
	j.cancel = cancel
	w.mu.Unlock()
	return ctx, func() {
		stop()
		w.mu.Lock()
		j.cancel = nil
		w.mu.Unlock()
		cancel(nil)
		idle()
		<-j.turn
	}, nil
}

// take ends whatever works on the location, and waits for its turn.
func (w *work) take(ctx context.Context, l index.Location) (context.Context, func(), error) {
	w.mu.Lock()
	if j := w.jobs[l]; j != nil && j.cancel != nil {
		j.cancel(errTaken)
	}
	w.mu.Unlock()
	return w.begin(ctx, l)
}

// busy reports whether somebody works on the location.
func (w *work) busy(l index.Location) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.jobs[l]
	return j != nil && j.cancel != nil
}
