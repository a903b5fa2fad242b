package store

import "time"

// limits bound what is kept in one transaction or in memory. Tests make them small.
type limits struct {
	chunkRows    int   // rows of a commit's chunk
	stageRows    int   // rows of a full transfer between two commits to staging
	deltaRows    int   // rows and runs of a delta that is kept in memory; a larger one goes to staging
	besideLeaves int   // dirty leaves from which on a second connection helps to hash them
	checkpoint   int64 // bytes of a download after which it is made durable

	// Zero stands for the usual.
	searchers  int   // parts of a search that are read at once
	searchRows int64 // rows of such a part, about
	sortPage   int   // entries that a sorted search passes on at a time
	stall      time.Duration

	minDead, maxDead int64 // dead runs that a location may keep
}

// steps are the points between which a change of the disk can break off. In production it is nil and costs a
// comparison; the tests of this package end the process, or fail the operation, at each of them in turn.
type steps struct {
	hook func(name string, mayFail bool) error
}

// at stands before an operation that can fail. Its error is that operation's.
func (p *steps) at(name string) error {
	if p == nil {
		return nil
	}
	return p.hook(name, true)
}

// passed stands behind the last operation of a sequence, where nothing can fail any more but the process can end.
func (p *steps) passed(name string) {
	if p != nil {
		_ = p.hook(name, false)
	}
}
