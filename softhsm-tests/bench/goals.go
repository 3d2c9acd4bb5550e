package main

// goal is a ratio of issue 4: how many times faster ours is than another; with one caller by p50, else by operations a
// second. What a call costs in absolute terms is in limits.
type goal struct {
	op, ours, against string
	threads           int
	ratio             float64
}

// goals are those against p11-kit, then those against SoftHSM.
var goals = concat(
	against("p11-kit", []int{1, 16, 64}, map[string][]float64{
		"round-trip": {1.7, 6, 18}, "p256-sign": {2.5, 7, 16},
		"rsa2048-sign": {2.2, 3, 3}, "rsa2048-pss": {2.2, 3, 3}, "rsa2048-oaep": {2.2, 3, 3},
		"ed25519-sign": {5, 10}, "p384-sign": {5, 10},
		"gcm-1k": {5, 12, 30}, "gcm-64k": {2, 4}, "hmac-sha256": {4, 12, 30},
		"p256-verify": {2, 4}, "rsa2048-verify": {4, 8}, "ecdh": {2, 5}, "find-sign": {8, 10, 30},
		"find-1k": {500}, "find-100k": {500}, "list-1k-cold": {30}, "list-1k-warm": {100},
		"attribute": {200}, "session": {100}, "random-32": {100}, "digest-256": {25}, "digest-1m": {1.4}, "start": {10},
	}),
	against("softhsm", []int{1, 4}, map[string][]float64{
		"p256-sign": {1.15, 1.15}, "rsa2048-sign": {1.7, 1.5}, "rsa2048-pss": {1.7, 1.5}, "rsa2048-oaep": {1.7, 1.5},
		"ed25519-sign": {4, 3}, "p384-sign": {4, 3},
		"gcm-1k": {1.6, 1.5}, "gcm-64k": {0.75, 1}, "hmac-sha256": {1.4, 1.4}, "p256-verify": {1.25}, "rsa2048-verify": {1.35},
		"ecdh": {1.2, 1.3}, "find-sign": {5, 7},
		"find-1k": {500}, "find-100k": {500}, "list-1k-cold": {15}, "list-1k-warm": {50},
		"attribute": {100}, "session": {1}, "random-32": {10}, "digest-256": {2}, "digest-1m": {1},
	}),
	[]goal{
		{"nginx-p256", "anyhsm", "p11-kit", clients, 1.25},
		{"nginx-rsa2048", "anyhsm", "p11-kit", clients, 1.5},
		{"nginx-p256", "anyhsm", "softhsm", clients, 0.95},
		{"nginx-rsa2048", "anyhsm", "softhsm", clients, 1.3},
		{"nginx-p256", "anyhsm", keyFile, clients, 0.9},
		{"nginx-rsa2048", "anyhsm", keyFile, clients, 0.9},
		{"p256-sign", "anyhsm-tls", "p11-kit", 1, 2},
		{"p256-sign", "anyhsm-tls", "p11-kit", 16, 6},
		{"p256-sign", "anyhsm-tls", "softhsm", 1, 1},
		{"p256-sign", "anyhsm-tls", "softhsm", 4, 1.1},
	},
)

func against(other string, threads []int, wanted map[string][]float64) []goal {
	var made []goal
	for _, o := range operations {
		for i, ratio := range wanted[o.name] {
			made = append(made, goal{o.name, "anyhsm", other, threads[i], ratio})
		}
	}
	return made
}

func concat(parts ...[]goal) []goal {
	var all []goal
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// limit is an absolute goal of ours.
type limit struct {
	op      string
	threads int
	what    string
	of      func(figures) float64
	// most says that the figure may be at most that; otherwise it must be at least that.
	most   bool
	figure float64
}

var limits = []limit{
	{"round-trip", 1, "p50 in µs", func(f figures) float64 { return f.P50 }, true, 12},
	{"round-trip", 16, "operations a second", func(f figures) float64 { return f.PerSecond }, false, 90_000},
	{"round-trip", 4, "p99.9 in µs", func(f figures) float64 { return f.P999 }, true, 1000},
	{"round-trip", 16, "CPU of caller and daemon in µs", func(f figures) float64 { return f.ClientCPU + f.ServerCPU }, true, 25},
	{"start", 1, "p50 in µs", func(f figures) float64 { return f.P50 }, true, 8000},
}

func (l limit) reached(f figures) bool {
	if l.most {
		return l.of(f) <= l.figure
	}
	return l.of(f) >= l.figure
}

// ratio is how many times faster ours is than the other; false if one of them has not been measured.
func ratio(ours, other figures) (float64, bool) {
	if ours.Error != "" || other.Error != "" || ours.Count == 0 || other.Count == 0 {
		return 0, false
	}
	// One caller is served when its call is over, many when many calls are.
	if ours.Threads == 1 {
		return other.P50 / ours.P50, ours.P50 > 0
	}
	return ours.PerSecond / other.PerSecond, other.PerSecond > 0
}
