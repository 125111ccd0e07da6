package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestIDsMadeOneAfterAnotherSortSo(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_800_000_000_000)
	last := ""
	for n := range 10_000 {
		// The clock stands still, steps ahead and steps back.
		id := hub.NewID(hub.EventPrefix, at.Add(time.Duration(n%3-1)*time.Millisecond))
		if id <= last || hub.IDPrefix(id) != hub.EventPrefix {
			t.Fatalf("%s came after %s", id, last)
		}
		last = id
	}
}

func TestIDsAreUniqueAcrossGoroutines(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			made := make([]string, 1000)
			for i := range made {
				made[i] = hub.NewID(hub.DeliveryPrefix, time.Now())
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range made {
				if seen[id] {
					t.Errorf("%s was made twice", id)
				}
				seen[id] = true
			}
		})
	}
	wg.Wait()
}

func FuzzIDPrefixAdmitsOnlyIDs(f *testing.F) {
	f.Add("evt_01234567890123456789012345")
	f.Add("evt_")
	f.Add("_")
	f.Fuzz(func(t *testing.T, text string) {
		if prefix := hub.IDPrefix(text); prefix != "" && (len(text) != 30 || !strings.HasPrefix(text, prefix+"_")) {
			t.Fatalf("%q passes for an ID of %q", text, prefix)
		}
	})
}

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const clear = "whsec_in_the_clear"
	s := hub.Secret(clear)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", slog.Any("secret", s), slog.Any("in", struct{ S hub.Secret }{s}))
	encoded, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{log.String(), string(encoded), s.String(), s.GoString()}
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, []hub.Secret{s}), fmt.Sprintf(verb, struct{ S hub.Secret }{s}))
	}
	for _, p := range printed {
		if strings.Contains(p, clear) || strings.Contains(p, fmt.Sprintf("%x", clear)) {
			t.Errorf("printed: %s", p)
		}
	}
	if s.Reveal() != clear {
		t.Error("a secret must be usable")
	}
}

func TestHeadersThatCarryCredentialsAreRedacted(t *testing.T) {
	t.Parallel()
	for name, sensitive := range map[string]bool{
		"Authorization": true, "Cookie": true, "Set-Cookie": true, "X-Api-Key": true, "X-GitLab-Token": true,
		"X-Github-Encoded-Secret": true, "X-Telegram-Bot-Api-Secret-Token": true, "Proxy-Authorization": true,
		"Content-Type": false, "Stripe-Signature": false, "webhook-signature": false, "Idempotency-Key": false,
	} {
		in := []hub.Header{{Name: name, Value: "the value"}}
		out := hub.Redact(in)
		if (out[0].Value == "the value") == sensitive || in[0].Value != "the value" {
			t.Errorf("%s became %q", name, out[0].Value)
		}
	}
}

func TestSequencesSortAsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOf(rapid.Int64Min(0)).Draw(rt, "sequences")
		slices.Sort(all)
		texts := make([]string, len(all))
		for i, n := range all {
			texts[i] = hub.Sequence(n).String()
			if len(texts[i]) != 16 {
				rt.Fatalf("%s is not of the fixed width", texts[i])
			}
		}
		if !slices.IsSorted(texts) {
			rt.Fatalf("%v", texts)
		}
	})
}

func TestErrorsKeepTheirCodeAndHideTheirCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("the disk is full")
	err := fmt.Errorf("store: %w", &hub.Error{Code: hub.CodeUnavailable, Message: "try again", Err: cause})
	if hub.CodeOf(err) != hub.CodeUnavailable || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if hub.CodeOf(cause) != hub.CodeInternal || hub.CodeOf(nil) != "" {
		t.Error("what is not ours is internal, and no error has no code")
	}
	var problems hub.UserErrors
	if problems.OrNil() != nil {
		t.Error("an empty list is no error")
	}
	problems.Add(hub.InputRequired, "give a name", "input", "name")
	if got := problems.OrNil().Error(); got != "input.name: give a name" {
		t.Errorf("got %s", got)
	}
}

func TestHoldSaysWhatHolds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	due := now.Add(time.Millisecond)
	active := &hub.Endpoint{State: hub.EndpointActive}
	for name, c := range map[string]struct {
		e    *hub.Endpoint
		h    *hub.EndpointHealth
		s    *hub.Subscription
		want string
		next time.Time
	}{
		"nothing":               {active, &hub.EndpointHealth{Breaker: hub.BreakerClosed}, &hub.Subscription{State: hub.SubscriptionActive}, "", due},
		"nothing known":         {nil, nil, nil, "", due},
		"a paused endpoint":     {&hub.Endpoint{State: hub.EndpointPaused}, nil, nil, "the endpoint is paused", time.Time{}},
		"a disabled endpoint":   {&hub.Endpoint{State: hub.EndpointDisabled, StateReason: "it answered 410 Gone"}, nil, nil, "the endpoint is disabled: it answered 410 Gone", time.Time{}},
		"a paused subscription": {active, nil, &hub.Subscription{State: hub.SubscriptionPaused}, "the subscription is paused", time.Time{}},
		"an open breaker":       {active, &hub.EndpointHealth{Breaker: hub.BreakerOpen, BreakerUntil: now}, nil, "the endpoint keeps failing; the next probe is due at 2026-01-02T03:04:05Z", due},
		"pacing":                {active, &hub.EndpointHealth{PacedUntil: now.Add(time.Second)}, nil, "the endpoint asked not to be called before 2026-01-02T03:04:06Z", now.Add(time.Second)},
		"pacing that is over":   {active, &hub.EndpointHealth{PacedUntil: now}, nil, "", due},
	} {
		hold, held := hub.Holds(c.e, c.h, c.s, now)
		if hold.Reason != c.want || held != (c.want != "") {
			t.Errorf("%s: got %q, %t", name, hold.Reason, held)
		}
		if got := hold.Next(due); held && !got.Equal(c.next) {
			t.Errorf("%s: the next attempt is at %v", name, got)
		}
	}
}
