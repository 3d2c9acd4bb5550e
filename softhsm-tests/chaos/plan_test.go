package chaos

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// kind is a kind of fault.
type kind string

const (
	kill         kind = "kill -9 and restart"
	terminate    kind = "SIGTERM and restart"
	stop         kind = "SIGSTOP, SIGCONT"
	cutFront     kind = "network to applications cut"
	cutBack      kind = "network to database cut"
	cutBoth      kind = "all networks cut"
	upgrade      kind = "another version"
	serverRenew  kind = "server certificate renewed"
	clientRenew  kind = "application enrolled again"
	databaseShut kind = "PostgreSQL restarted"
	databaseStop kind = "PostgreSQL crashed"
	databaseKill kind = "PostgreSQL killed -9"
	diskFull     kind = "database's disk full"
)

// weights are how often a kind comes among the others. A full disk excuses failures, so it is rare.
var weights = map[kind]int{
	kill: 6, terminate: 3, stop: 5, cutFront: 4, cutBack: 4, cutBoth: 2, upgrade: 2, serverRenew: 2, clientRenew: 2,
	databaseShut: 1, databaseStop: 1, databaseKill: 1, diskFull: 1,
}

// disturbs tells that the replica cannot be counted on meanwhile; database that it is a fault of the database.
func (k kind) disturbs() bool {
	return slices.Contains([]kind{kill, terminate, stop, cutFront, cutBack, cutBoth, upgrade}, k)
}

func (k kind) database() bool {
	return slices.Contains([]kind{databaseShut, databaseStop, databaseKill, diskFull}, k)
}

// fault is one planned fault.
type fault struct {
	kind kind
	// at counts from the run's beginning.
	at, lasting time.Duration
	// target is the number of a replica, or of an application.
	target int
}

const (
	// recovery is how long a replica is expected to need to be of use again.
	recovery = 3 * time.Second
	// calm is the time at the end without faults.
	calm = 6 * time.Second
	// apart is between two faults of the database.
	apart = 8 * time.Second
)

// plan makes a schedule by chance: of the replicas one at least is always left alone.
func plan(seed uint64, length time.Duration, replicas, applications int) []fault {
	random := rand.New(rand.NewPCG(seed, 5))
	busy := make([]time.Duration, replicas)
	var databaseBusy time.Duration
	var bag []kind
	var faults []fault
	for at := 2 * time.Second; at < length-calm; at += time.Duration(1500+random.IntN(2000)) * time.Millisecond {
		if len(bag) == 0 {
			bag = shuffled(random)
		}
		var free []int
		for r := range replicas {
			if busy[r] <= at {
				free = append(free, r)
			}
		}
		// The first kind in the bag that can be done now.
		i := slices.IndexFunc(bag, func(k kind) bool {
			return !(k.disturbs() && len(free) < 2) && !(k.database() && databaseBusy > at) && !(k == serverRenew && len(free) == 0)
		})
		if i < 0 {
			continue
		}
		f := fault{kind: bag[i], at: at}
		bag = slices.Delete(bag, i, i+1)
		switch {
		case f.kind == clientRenew:
			f.target = random.IntN(applications)
		case f.kind.database():
			f.lasting = time.Duration(200+random.IntN(1500)) * time.Millisecond
			databaseBusy = at + f.lasting + apart
		case f.kind == serverRenew:
			f.target = free[random.IntN(len(free))]
		default:
			f.target = free[random.IntN(len(free))]
			f.lasting = time.Duration(300+random.IntN(4700)) * time.Millisecond
			busy[f.target] = at + f.lasting + recovery
		}
		faults = append(faults, f)
	}
	return faults
}

// shuffled is a bag of all kinds, as often as they weigh, and each kind once among the first.
func shuffled(random *rand.Rand) []kind {
	var once, more []kind
	for _, k := range []kind{
		kill, terminate, stop, cutFront, cutBack, cutBoth, upgrade, serverRenew, clientRenew, databaseShut, databaseStop, databaseKill, diskFull,
	} {
		once = append(once, k)
		for range weights[k] - 1 {
			more = append(more, k)
		}
	}
	random.Shuffle(len(once), func(i, j int) { once[i], once[j] = once[j], once[i] })
	random.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
	return append(once, more...)
}

// TestPlan: the same seed makes the same plan, which has all kinds of faults in it and leaves one replica alone.
func TestPlan(t *testing.T) {
	for seed := range uint64(200) {
		const length = 4 * time.Minute
		faults := plan(seed, length, replicas, applications)
		if !slices.Equal(faults, plan(seed, length, replicas, applications)) {
			t.Fatalf("seed %d makes two plans", seed)
		}
		if len(faults) < 65 {
			t.Errorf("seed %d: only %d faults", seed, len(faults))
		}
		if short := plan(seed, shortest, replicas, applications); len(short) < int(shortest/(4*time.Second)) {
			t.Errorf("seed %d: only %d faults in the short form", seed, len(short))
		}
		kinds := map[kind]bool{}
		for i, f := range faults {
			kinds[f.kind] = true
			down := map[int]bool{}
			for _, g := range faults[:i+1] {
				if g.kind.disturbs() && g.at+g.lasting+recovery > f.at {
					down[g.target] = true
				}
			}
			if len(down) >= replicas {
				t.Errorf("seed %d: nothing is left at %v", seed, f.at)
			}
		}
		if len(kinds) != len(weights) {
			t.Errorf("seed %d: kinds %v", seed, kinds)
		}
	}
}
