package store

import (
	"fmt"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// sketchAccuracy is by how much, relative to itself, a percentile may be off.
const sketchAccuracy = 0.01

// sketchMapping is that of every sketch, so that none has to carry its own. It must
// never change: stored sketches are read by it.
var sketchMapping = func() mapping.IndexMapping {
	m, err := mapping.NewLogarithmicMapping(sketchAccuracy)
	if err != nil {
		panic(err)
	}
	return m
}()

// sketch is a distribution of durations. Sketches add up to that of all they were made
// of, whatever their order.
type sketch struct{ dd *ddsketch.DDSketch }

func newSketch() *sketch {
	return &sketch{ddsketch.NewDDSketchFromStoreProvider(sketchMapping, store.BufferedPaginatedStoreConstructor)}
}

func (s *sketch) add(d time.Duration) {
	_ = s.dd.Add(milliseconds(d)) // it fails for negative and boundless values, which max keeps out
}

func milliseconds(d time.Duration) float64 { return float64(max(d, 0)) / float64(time.Millisecond) }

// encode is nothing for an empty sketch.
func (s *sketch) encode() []byte {
	b := []byte{}
	if s != nil && !s.dd.IsEmpty() {
		s.dd.Encode(&b, true)
	}
	return b
}

// merge adds what encode returned of another.
func (s *sketch) merge(encoded []byte) error {
	if len(encoded) == 0 {
		return nil
	}
	if err := s.dd.DecodeAndMergeWith(encoded); err != nil {
		return fmt.Errorf("read a stored sketch: %w", err)
	}
	return nil
}

// quantile returns nil where nothing was added.
func (s *sketch) quantile(q float64) *float64 {
	value, err := s.dd.GetValueAtQuantile(q)
	if err != nil {
		return nil
	}
	return &value
}
