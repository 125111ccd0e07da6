package receive_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestCapturedRequests(t *testing.T) {
	t.Parallel()
	dropbox := func() *hub.Source {
		return &hub.Source{ID: "src_dropbox", Slug: "dropbox", Kind: hub.SourceWebhook, State: hub.SourceActive, Provider: "dropbox", Secrets: []hub.Secret{"secret"}, Capturing: 2}
	}
	t.Run("are answered well, kept and made no events of", func(t *testing.T) {
		t.Parallel()
		source := dropbox()
		s := newStore(source)
		s.captures = 2
		url := serve(t, s) + "/in/dropbox"
		for range 2 {
			got := send(t, http.MethodPost, url, headers("X-Dropbox-Signature", "abc", "Authorization", "Bearer key"), []byte(`{"a":1}`))
			if got.status != 200 || got.body != `{"captured":true}` || got.header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %s", got.status, got.body)
			}
			r := s.refusal(t)
			if r.Reason != hub.RejectedCaptured || string(r.Body) != `{"a":1}` || !strings.Contains(r.Detail, "refused with SIGNATURE_INVALID") {
				t.Errorf("%+v", r)
			}
			for _, h := range r.Headers {
				if strings.Contains(h.Value, "key") {
					t.Errorf("%s holds a credential: %s", h.Name, h.Value)
				}
			}
		}
		if got := send(t, http.MethodPost, url, nil, []byte(`{}`)); got.status != 401 {
			t.Errorf("one more was answered %d", got.status)
		}
		if events, rejections := s.counts(); events != 0 || rejections != 3 {
			t.Errorf("%d events, %d rejections", events, rejections)
		}
	})
	t.Run("do not keep handshakes from being answered", func(t *testing.T) {
		t.Parallel()
		s := newStore(dropbox())
		s.captures = 1
		url := serve(t, s) + "/in/dropbox"
		if got := send(t, http.MethodGet, url+"?challenge=abc", nil, nil); got.status != 200 || got.body != "abc" {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := send(t, http.MethodGet, url, nil, nil); got.status != 405 {
			t.Errorf("%d", got.status)
		}
		if got := send(t, http.MethodPost, url, nil, []byte(`{}`)); got.body != `{"captured":true}` {
			t.Errorf("the handshake has used the capture up: %d %s", got.status, got.body)
		}
	})
	t.Run("get the source's own answer", func(t *testing.T) {
		t.Parallel()
		source := dropbox()
		source.Response = hub.SourceResponse{Status: 202, ContentType: "text/plain", Body: "[accepted]"}
		s := newStore(source)
		s.captures = 1
		if got := send(t, http.MethodPost, serve(t, s)+"/in/dropbox", nil, []byte(`{}`)); got.status != 202 || got.body != "[accepted]" {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("are kept out by no pause and no network", func(t *testing.T) {
		t.Parallel()
		source := open()
		source.State, source.Capturing = hub.SourcePaused, 2
		source.Verification = &hub.Verification{AllowNetworks: []string{"192.0.2.0/24"}}
		s := newStore(source)
		s.captures = 1
		url := serve(t, s) + "/in/open"
		if got := send(t, http.MethodPost, url, nil, []byte(`{}`)); got.body != `{"captured":true}` {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := send(t, http.MethodPost, url, nil, []byte(`{}`)); got.status != 403 {
			t.Errorf("one more: %d %s", got.status, got.body)
		}
	})
	t.Run("a pause holds again once there are enough", func(t *testing.T) {
		t.Parallel()
		source := open()
		source.State, source.Capturing = hub.SourcePaused, 1
		got := send(t, http.MethodPost, serve(t, newStore(source))+"/in/open", nil, []byte(`{}`))
		wantBare(t, got, 503, hub.CodeSourcePaused)
	})
	t.Run("have bounds", func(t *testing.T) {
		t.Parallel()
		source := open()
		source.MaxBodyBytes, source.Capturing = 10, 1
		s := newStore(source)
		s.captures = 1
		if got := send(t, http.MethodPost, serve(t, s)+"/in/open", nil, make([]byte, 11)); got.status != 413 || s.captures != 1 {
			t.Errorf("%d, %d left", got.status, s.captures)
		}
	})
	t.Run("are refused where they cannot be kept", func(t *testing.T) {
		t.Parallel()
		source := open()
		source.Capturing = 1
		s := newStore(source)
		s.captures, s.rejectErr = 1, hub.NewError(hub.CodeUnavailable, "away")
		wantBare(t, send(t, http.MethodPost, serve(t, s)+"/in/open", nil, []byte(`{}`)), 503, hub.CodeUnavailable)
	})
}
