package harness

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bodySize  = 1024
	dueBefore = `{"due":"`
)

// Body makes, in the memory of b, a JSON object of 1 KiB that carries the moment at
// which it was due, and a type.
func Body(b []byte, eventType string, due time.Time) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(due.UnixNano()))
	b = append(b[:0], dueBefore...)
	b = hex.AppendEncode(b, raw[:])
	b = append(b, `","type":"`...)
	b = append(b, eventType...)
	b = append(b, `","padding":"`...)
	for len(b) < bodySize-2 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}

// DueOf reads the moment back, from any JSON object that begins with it.
func DueOf(b []byte) time.Time {
	var raw [8]byte
	if len(b) < len(dueBefore)+16 {
		return time.Time{}
	}
	if _, err := hex.Decode(raw[:], b[len(dueBefore):len(dueBefore)+16]); err != nil {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw[:])))
}

// Load sends events to a hub.
type Load struct {
	Addr string
	Path string
	// Key begins the dedupe key of each event. Loads for one source need different ones.
	Key string
	// Type returns the type of the nth event of one call; nil: all have one.
	Type func(n int) string

	keys atomic.Uint64
}

func (l *Load) post(c *Conn, buf []byte, n int, due time.Time) (kept []byte, ok bool, err error) {
	eventType := "order.created"
	if l.Type != nil {
		eventType = l.Type(n)
	}
	buf = Body(buf, eventType, due)
	status, _, err := c.Post(l.Path, fmt.Sprintf("%s%d", l.Key, l.keys.Add(1)), buf)
	return buf, status == http.StatusOK, err
}

// Offer sends events at a rate for a time, whether answers come or not, and calls each
// for every acknowledgement, from many goroutines, with the time since the event was
// due. It returns how many were acknowledged.
func (l *Load) Offer(ctx context.Context, rate int, duration time.Duration, each func(n int, took time.Duration)) int {
	type item struct {
		n  int
		at time.Time
	}
	due := make(chan item, rate)
	var done atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			var c *Conn
			var buf []byte
			for i := range due { // also where it cannot send: whoever offers must not wait for it
				var err error
				if c == nil {
					if c, err = Dial(l.Addr, 10*time.Second); err != nil {
						continue
					}
				}
				var acknowledged bool
				if buf, acknowledged, err = l.post(c, buf, i.n, i.at); err != nil {
					c.Close()
					c = nil
				} else if acknowledged {
					done.Add(1)
					each(i.n, time.Since(i.at))
				}
			}
			if c != nil {
				c.Close()
			}
		})
	}
	began := time.Now()
	step := time.Second / time.Duration(rate)
	total := int(duration / step)
	for n := 0; n < total && ctx.Err() == nil; n++ {
		at := began.Add(time.Duration(n) * step)
		time.Sleep(time.Until(at))
		select {
		case due <- item{n, at}:
		case <-ctx.Done():
		}
	}
	close(due)
	wg.Wait()
	return int(done.Load())
}

// Flood lets each connection send its next event when it has its answer, until most
// were sent (0: no bound) or the context is done. It returns how many were
// acknowledged.
func (l *Load) Flood(ctx context.Context, conns, most int) int {
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			c, err := Dial(l.Addr, 10*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			var buf []byte
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if most > 0 && n >= most {
					return
				}
				var acknowledged bool
				if buf, acknowledged, err = l.post(c, buf, n, time.Now()); err != nil {
					return
				}
				if acknowledged {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(done.Load())
}
