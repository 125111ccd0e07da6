package catalogue

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// New makes a keeper that looks when a test says so.
func New(c Config) *Keeper { return newKeeper(c) }

// Look is one look.
func (k *Keeper) Look(ctx context.Context) error { return k.look(ctx) }

// Free gives the catalogue back.
func (k *Keeper) Free(ctx context.Context) { k.free(ctx) }

// UsualPause is what the rhythm of a source allows.
func UsualPause(spans []hub.Activity) time.Duration { return usualPause(spans) }

// Bounds that tests go to.
const (
	Samples     = samples
	DriftsAfter = driftsAfter
)
