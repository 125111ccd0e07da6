package wake_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/wake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func woken(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestALocalBus(t *testing.T) {
	t.Parallel()
	t.Run("wakes every watcher by itself", func(t *testing.T) {
		t.Parallel()
		b := wake.NewLocal()
		first, _ := b.Watch()
		second, _ := b.Watch()
		b.Notify()
		if !woken(first) || !woken(second) || woken(first) {
			t.Fatal("not each of them once")
		}
	})
	t.Run("makes one of many that nobody has taken up", func(t *testing.T) {
		t.Parallel()
		b := wake.NewLocal()
		ch, _ := b.Watch()
		for range 1000 {
			b.Notify()
		}
		if !woken(ch) || woken(ch) {
			t.Fatal("not once")
		}
	})
	t.Run("does not wake those who have stopped or come later", func(t *testing.T) {
		t.Parallel()
		b := wake.NewLocal()
		stopped, stop := b.Watch()
		stop()
		stop()
		b.Notify()
		later, _ := b.Watch()
		if woken(stopped) || woken(later) {
			t.Fatal("woken")
		}
		b.Close()
		b.Close()
	})
	t.Run("wakes after whatever was notified last", func(t *testing.T) {
		t.Parallel()
		b := wake.NewLocal()
		ch, stop := b.Watch()
		defer stop()
		var (
			mu      sync.Mutex
			written int
		)
		go func() {
			for range 1000 {
				mu.Lock()
				written++
				mu.Unlock()
				b.Notify()
			}
		}()
		for {
			<-ch
			mu.Lock()
			seen := written
			mu.Unlock()
			if seen == 1000 {
				return
			}
		}
	})
}
