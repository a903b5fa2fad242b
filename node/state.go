package node

import (
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

// facts are all that decides what is said of a location. They are gathered elsewhere, so that what is said can be checked
// for every combination.
type facts struct {
	sit       *syncer.Situation
	newest    *index.SignedHead // held or heard; zero = none
	running   bool              // beside a running node, which knows what moves and who is there
	ownerHere bool              // the owner is connected; without a running node it is not
	transfer  *Progress         // under way; nil = none
	job       *syncer.Job       // nil = none
	allPaused bool
	policy    string // "lazy" or "off" when nothing newer is fetched by policy, else ""
	same      string // name of the own location that is the same folder; "" = none
	damage    string // what is wrong with the file here; "" = nothing that is known

	// Of own locations only.
	root       string
	scan       store.ScanState
	scanFailed string // why the last scan ended; "" = it didn't fail
	scanning   bool
}

// standing is what is said of a location.
type standing struct {
	state, detail string
	behind        int64 // changes missing at most; 0 = none, or not known
}

// replica says how a location of another device stands. The first that is true is said.
func (f *facts) replica() standing {
	s := f.sit
	p := syncer.Decide(s)
	at, behind := f.missing()
	switch {
	case s.Frozen:
		return standing{state: api.StateFrozen, detail: "two heads: its owner signed two states that cannot both be true"}
	case s.Retired == index.Retired:
		return standing{state: api.StateRetired, detail: "removed by its owner"}
	case f.same != "":
		return standing{state: api.StateSame, detail: "it is the folder that this device indexes as " + f.same}
	case f.transfer != nil:
		return standing{state: api.StateSyncing, behind: at}
	case s.Damaged && f.policy == "":
		return standing{state: api.StateQuarantined, detail: f.damage + "; " + f.orStopped(whenFetched(&p))}
	case p.Quarantined != "":
		return standing{state: api.StateQuarantined, detail: p.Quarantined, behind: at}
	case f.policy == "off":
		return standing{state: api.StateOff, detail: f.kept(behind), behind: at}
	case f.policy == "lazy" && !behind: // as good as any other
	case f.policy == "lazy":
		return standing{state: api.StateLazy, detail: p.Why + "; " + f.kept(behind), behind: at}
	case s.Held == nil:
		return standing{state: api.StateNever, detail: f.orStopped(p.Why)}
	case behind:
		return standing{state: api.StateBehind, detail: f.orStopped(p.Why), behind: at}
	}
	return f.newestHeld()
}

// newestHeld says how a replica at the newest head heard stands.
func (f *facts) newestHeld() standing {
	switch s := f.sit; {
	case s.Retired == index.Archived:
		return standing{state: api.StateArchived, detail: "removed by its owner, kept as it was"}
	case f.running && !f.ownerHere:
		return standing{state: api.StateOwnerAway, detail: "this is the newest state that any device told of; its owner may have a newer one"}
	case s.Held.AsOf == 0:
		return standing{state: api.StateCurrent, detail: "its owner has not finished its first scan"}
	}
	return standing{state: api.StateCurrent}
}

// missing says how many changes lie between what is held and the newest head, 0 if that can't be said, and whether there is
// something newer at all.
func (f *facts) missing() (int64, bool) {
	held := f.sit.Held
	if held == nil {
		return 0, true
	}
	switch index.Compare(&f.newest.Head, &held.Head) {
	case index.Newer:
		return f.newest.Seq - held.Seq, true
	case index.NewEpoch:
		return 0, true
	}
	return 0, false
}

// kept says what became of a replica that a policy lets move no further.
func (f *facts) kept(behind bool) string {
	switch {
	case f.sit.Damaged:
		return "the copy from before is damaged, and not used"
	case f.sit.Held == nil:
		return "nothing of it is kept here"
	case behind:
		return "the copy from before is kept, and moves no further"
	}
	return "the copy here is at the newest state heard, and moves no further"
}

// orStopped says why nothing is fetched: because of a person or of the last try, if it is that, else why.
func (f *facts) orStopped(why string) string {
	j := f.job
	switch {
	case f.allPaused:
		return "all transfers are paused (peerdex transfers resume --all)"
	case j == nil:
		return why
	case j.State == syncer.Paused:
		return "its transfer is paused (peerdex transfers resume)"
	case j.State == syncer.Cancelled:
		return "its transfer was cancelled; it begins with the next change, or now: peerdex transfers resume"
	case j.State == syncer.Busy:
		return fmt.Sprintf("who has it is busy, and is asked again at %s", j.Next.Local().Format(time.TimeOnly))
	case j.State == syncer.Waiting:
		return fmt.Sprintf("%s; tried %s, and again at %s: %s", why, times(j.Attempts), j.Next.Local().Format(time.TimeOnly), j.Error)
	case j.State == syncer.Queued && f.running && !j.Provider.IsZero():
		return why + "; it waits for its turn"
	}
	return why
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// own says how a location of this device stands whose index is there.
func (f *facts) own() standing {
	switch f.sit.Retired {
	case index.Retired:
		return standing{state: api.StateRetired}
	case index.Archived:
		return standing{state: api.StateArchived, detail: "not scanned any more, kept as it was"}
	}
	out := standing{state: f.scan.State, detail: f.scan.Detail}
	if f.root == "" {
		out = standing{state: api.StateCurrent, detail: "fed by an application"}
		if f.sit.Held == nil || f.sit.Held.AsOf == 0 {
			out.state = api.StateNever
		}
	}
	if f.scanFailed != "" {
		out.detail = f.scanFailed
	}
	if f.scanning {
		out.state = api.StateScanning
	}
	return out
}
