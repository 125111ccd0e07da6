package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The hub trades memory, of which it needs little, for processor time: most of what
// it allocates is gone with the request. So garbage may come to a fixed amount, though
// to no more than several times what lives and to no less than Go's own measure, which
// is as much as lives.
const (
	maxGCPercent  = 1000
	minGCPercent  = 100
	garbage       = 48 << 20
	gcLookEvery   = time.Second
	gcPercentStep = 10
)

// gcPercent returns the percentage for so many bytes that live.
func gcPercent(live uint64) int {
	percent := uint64(maxGCPercent)
	if live > 0 {
		percent = min(percent, garbage*100/live)
	}
	return int(max(percent, minGCPercent))
}

// tuneGC sets the percentage by what lives, until ctx ends. GOGC in the environment
// stands in its place.
func tuneGC(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	set := maxGCPercent
	debug.SetGCPercent(set)
	look := time.NewTicker(gcLookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		metrics.Read(samples)
		live := uint64(0)
		for _, s := range samples {
			if s.Value.Kind() == metrics.KindUint64 {
				live += s.Value.Uint64()
			}
		}
		if wanted := gcPercent(live); max(wanted-set, set-wanted) >= gcPercentStep {
			set = wanted
			debug.SetGCPercent(set)
		}
	}
}
