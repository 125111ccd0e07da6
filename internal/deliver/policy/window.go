package policy

import "time"

const (
	windowBuckets = 10
	windowBucket  = 30 * time.Second // together five minutes
)

// window counts the attempts of the last five minutes, in steps of half a
// minute. It is a value: a copy counts on its own.
type window struct {
	buckets [windowBuckets]bucket
}

type bucket struct {
	number        int64 // which half minute since 1970
	total, failed uint32
}

func (w *window) add(now time.Time, failed bool) {
	number := now.UnixNano() / int64(windowBucket)
	b := &w.buckets[number%windowBuckets]
	if b.number != number {
		*b = bucket{number: number}
	}
	b.total++
	if failed {
		b.failed++
	}
}

// failing reports whether enough of enough attempts have failed.
func (w *window) failing(now time.Time) bool {
	number := now.UnixNano() / int64(windowBucket)
	var total, failed uint64
	for _, b := range w.buckets {
		if b.number > number-windowBuckets && b.number <= number {
			total += uint64(b.total)
			failed += uint64(b.failed)
		}
	}
	return total >= windowMinimum && failed*100 >= total*windowPercent
}
