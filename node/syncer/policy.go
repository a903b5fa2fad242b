package syncer

import (
	"github.com/peerdex/peerdex/index"
)

// Policy is what a person decided about the replica of a location. The zero value is [Auto].
type Policy string

// The policies.
const (
	Auto Policy = "auto" // a replica, unless the location is large and every way to get it is costly
	Full Policy = "full" // a replica, whatever it costs
	Lazy Policy = "lazy" // no replica: providers are asked when somebody asks. One that is there stays, and moves no further
	Off  Policy = "off"  // nothing, neither a replica nor asking. One that is there stays, and moves no further
)

// ParsePolicy reads the name of a policy. It reports false for any other text.
func ParsePolicy(s string) (Policy, bool) {
	switch p := Policy(s); p {
	case Auto, Full, Lazy, Off:
		return p, true
	}
	return "", false
}

// OnDemand is the strategy of recording heads and holders alone: what is asked for is asked of a provider, and cached.
const OnDemand Strategy = "on-demand"

const (
	// LazyEntries is from how many entries a location is not fetched by itself over a costly link.
	LazyEntries = 100_000
	// LazyChanges is from how many changes a replica of such a location no longer follows over a costly link.
	LazyChanges = 10_000
)

// Idle reports whether there is nothing to run.
func (p *Plan) Idle() bool { return p.Strategy == Nothing || p.Strategy == OnDemand }

// byPolicy is what the policy alone decides, about a location whose newest head is not held; false if it decides nothing.
func (s *Situation) byPolicy(newest *index.SignedHead) (Plan, bool) {
	switch s.Policy {
	case Off:
		return Plan{Strategy: Nothing, Target: *newest, Why: "switched off by policy"}, true
	case Lazy:
		return Plan{Strategy: OnDemand, Target: *newest, Why: "asked for on demand, by policy"}, true
	case Full:
		return Plan{}, false
	}
	if newest.Count < LazyEntries || s.Held != nil && s.Held.Epoch == newest.Epoch && newest.Seq-s.Held.Seq < LazyChanges {
		return Plan{}, false
	}
	if why := s.costly(); why != "" {
		return Plan{Strategy: OnDemand, Target: *newest, Why: "asked for on demand: " + why}, true
	}
	return Plan{}, false
}

// costly says why no way to the location is one to fetch much by, "" if there is a better one, or none at all.
func (s *Situation) costly() string {
	if s.Metered {
		return "the network is metered"
	}
	why := ""
	for i := range s.Heard {
		switch h := &s.Heard[i]; {
		case !h.Reachable || !h.Held:
		case h.Link != LinkRelayed:
			return ""
		default:
			why = "it would come through a relay of strangers"
		}
	}
	return why
}
