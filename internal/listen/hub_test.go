package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhichErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]struct {
		text  string
		fatal bool
	}{
		`{"errors":[{"message":"m","extensions":{"code":"FORBIDDEN"}}]}`:      {"FORBIDDEN: m", true},
		`{"errors":[{"message":"m","extensions":{"code":"CURSOR_EXPIRED"}}]}`: {"begin anew with --restart", true},
		`{"errors":[{"message":"m","extensions":{"code":"UNAVAILABLE"}}]}`:    {"UNAVAILABLE: m", false},
		`{"errors":[{"message":"m","extensions":{"code":"RATE_LIMITED"}}]}`:   {"RATE_LIMITED: m", false},
		`{"errors":[{"message":"m"}]}`:                                        {": m", false},
		`<html>`:                                                              {"is --url that of a hub?", false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer k" || r.URL.Path != "/graphql" {
				t.Errorf("asked for %s with %v", r.URL, r.Header)
			}
			_, _ = io.WriteString(w, answer)
		}))
		client := &hubClient{url: server.URL, key: "k", http: server.Client()}
		var out any
		err := client.ask(t.Context(), `{ x }`, nil, &out)
		server.Close()
		if err == nil || !strings.Contains(err.Error(), want.text) || isFatal(err) != want.fatal {
			t.Errorf("%s: %v, fatal %v", answer, err, isFatal(err))
		}
	}
	client := &hubClient{url: "http://127.0.0.1:1", http: http.DefaultClient}
	if err := client.ask(t.Context(), `{ x }`, nil, nil); err == nil || isFatal(err) {
		t.Errorf("a hub that is away: %v", err)
	}
}

func TestWhatFailsIsTriedMoreAndMoreSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		l := newListener(Options{Out: &out})
		var at []time.Duration
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		err := l.insist(ctx, "the hub", func(context.Context) error {
			at = append(at, time.Since(began))
			return fmt.Errorf("failure %d", len(at))
		})
		if err == nil || time.Since(began) != 2*time.Minute {
			t.Errorf("it ended with %v after %s", err, time.Since(began))
		}
		want := firstWait
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < want*3/4 || gap > want*5/4 {
				t.Errorf("try %d came after %s, not about %s", i, gap, want)
			}
			want = min(2*want, lastWait)
		}
		if !strings.Contains(out.String(), "the hub: failure 1; again in ") {
			t.Errorf("it prints %q", out.String())
		}
		tries := 0
		if err := l.insist(t.Context(), "x", func(context.Context) error { tries++; return fatal("no: %w", errors.New("never")) }); !isFatal(err) || tries != 1 {
			t.Errorf("what cannot be mended was tried %d times: %v", tries, err)
		}
	})
}
