package app

import "testing"

func TestTheMoreLivesTheLessGarbageIsLet(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 1000, 4 << 20: 1000, 8 << 20: 600, 16 << 20: 300, 24 << 20: 200, 48 << 20: 100, 1 << 30: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB: got %d, want %d", live>>20, got, want)
		}
	}
}
