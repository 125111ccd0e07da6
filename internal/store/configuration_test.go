package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func TestConfiguration(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)

		t.Run("what is stored comes back whole", func(t *testing.T) {
			src := newSource(t, s, b, func(src *hub.Source) {
				src.Provider, src.Secrets = "stripe", []hub.Secret{"whsec_new", "whsec_old"}
				src.ProviderConfig = map[string]any{"clientSecret": "hush", "n": 1.5}
				src.Verification = &hub.Verification{HMAC: &hub.HMACVerification{Header: "X-Sig", Tolerance: time.Minute}, AllowNetworks: []string{"10.0.0.0/8"}}
				src.EventType, src.DedupeKey, src.OccurredAt, src.OrderingKey = "body.type", "body.id", "body.at", "body.key"
				src.Response = hub.SourceResponse{Status: 202, ContentType: "text/plain", Body: "thanks"}
				src.DedupeWindow = time.Hour
			})
			e := newEndpoint(t, s, b, func(e *hub.Endpoint) {
				e.RateLimit = &hub.RateLimit{Limit: 5, Period: time.Second}
				e.Headers = []hub.Header{{Name: "Authorization", Value: "Bearer hush"}}
				e.RetryPolicy.FinalStatuses = []string{"404"}
				e.SigningSecrets = []hub.SigningSecret{
					{ID: "sec_2", Secret: "whsec_two", CreatedAt: b.clock.Now()},
					{ID: "sec_1", Secret: "whsec_one", CreatedAt: b.clock.Now(), ExpiresAt: b.clock.Now().Add(time.Hour)},
				}
			})
			sub := newSubscription(t, s, b, e, func(sub *hub.Subscription) {
				sub.SourceIDs, sub.Filter, sub.EventTypes = []string{src.ID}, "body.amount > 5", []string{"invoice.*", "a"}
				sub.Ordering, sub.OrderingKey, sub.Poison = hub.OrderingStrict, "body.customer", hub.PoisonSkip
			})
			cfg := s.Configuration()
			for _, pair := range [][2]any{{cfg.Sources[src.ID], src}, {cfg.SourcesBySlug[src.Slug], src}, {cfg.Endpoints[e.ID], e}, {cfg.Subscriptions[sub.ID], sub}} {
				if !reflect.DeepEqual(pair[0], pair[1]) {
					t.Errorf("known as\n%+v, want\n%+v", pair[0], pair[1])
				}
			}
		})

		t.Run("an update changes what it says and its time", func(t *testing.T) {
			src := newSource(t, s, b, func(src *hub.Source) {
				src.Verification, src.Secrets = &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-API-Key"}}, []hub.Secret{"one"}
			})
			b.clock.advance(time.Minute)
			revision := s.Configuration().Revision
			changed := got[*hub.Source](t)(s.UpdateSource(t.Context(), src.ID, func(src *hub.Source) error {
				src.Name, src.Verification, src.Secrets = "renamed", nil, append(src.Secrets, "two")
				src.Kind, src.ID = "OTHER", "src_other"
				return nil
			}))
			want := *src
			want.Name, want.Verification, want.Secrets, want.UpdatedAt = "renamed", nil, []hub.Secret{"one", "two"}, b.clock.Now()
			if known := s.Configuration().Sources[src.ID]; !reflect.DeepEqual(changed, &want) || !reflect.DeepEqual(known, &want) {
				t.Fatalf("changed to %+v, known as %+v", changed, known)
			}
			if s.Configuration().Revision != revision+1 {
				t.Fatalf("revision went from %d to %d", revision, s.Configuration().Revision)
			}
			e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Second} })
			if e := got[*hub.Endpoint](t)(s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error {
				e.RateLimit = nil
				return nil
			})); e.RateLimit != nil || s.Configuration().Endpoints[e.ID].RateLimit != nil {
				t.Fatalf("the rate limit stayed: %+v", e)
			}
		})

		t.Run("an edit that refuses changes nothing", func(t *testing.T) {
			src, refusal := newSource(t, s, b), errors.New("no")
			revision := s.Configuration().Revision
			_, err := s.UpdateSource(t.Context(), src.ID, func(src *hub.Source) error {
				src.Name = "changed"
				return refusal
			})
			if !errors.Is(err, refusal) || s.Configuration().Sources[src.ID].Name != src.Name || s.Configuration().Revision != revision {
				t.Fatalf("error %v, name %q", err, s.Configuration().Sources[src.ID].Name)
			}
			var wrong hub.UserErrors
			wrong.Add(hub.InputInvalid, "is not good", "input", "url")
			_, err = s.UpdateEndpoint(t.Context(), newEndpoint(t, s, b).ID, func(*hub.Endpoint) error { return wrong })
			if list := (hub.UserErrors)(nil); !errors.As(err, &list) || len(list) != 1 {
				t.Fatalf("the error is %v", err)
			}
		})

		t.Run("a slug that is taken and a missing endpoint are refused", func(t *testing.T) {
			first, second := newSource(t, s, b), newSource(t, s, b)
			clone := *first
			clone.ID = hub.NewID(hub.SourcePrefix, b.clock.Now())
			wantCode(t, s.CreateSource(t.Context(), &clone), hub.CodeConflict)
			_, err := s.UpdateSource(t.Context(), second.ID, func(src *hub.Source) error {
				src.Slug = first.Slug
				return nil
			})
			wantCode(t, err, hub.CodeConflict)
			wantCode(t, s.CreateSubscription(t.Context(), &hub.Subscription{ID: "sub_x", EndpointID: "end_none"}), hub.CodeNotFound)
			_, err = s.UpdateSource(t.Context(), "src_none", func(*hub.Source) error { return nil })
			wantCode(t, err, hub.CodeNotFound)
		})

		t.Run("a restart knows it all", func(t *testing.T) {
			before := s.Configuration()
			must(t, s.Close())
			again, _ := start(t, url)
			if after := again.Configuration(); !reflect.DeepEqual(before, after) {
				t.Fatalf("before %+v, after %+v", before, after)
			}
			if again.Epoch() != s.Epoch() {
				t.Fatalf("the epoch went from %s to %s", s.Epoch(), again.Epoch())
			}
		})
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		k := &hub.APIKey{
			ID: hub.NewID(hub.APIKeyPrefix, b.clock.Now()), Name: "ci", Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopeEventsRead},
			Prefix: "hk_abc", Hash: []byte{1, 2, 3}, CreatedAt: b.clock.Now(), ExpiresAt: b.clock.Now().Add(time.Hour),
		}
		must(t, s.CreateAPIKey(t.Context(), k))
		if known := got[*hub.APIKey](t)(s.APIKey(t.Context(), k.ID)); !reflect.DeepEqual(known, k) {
			t.Fatalf("known as %+v", known)
		}
		used := b.clock.Now().Add(time.Minute)
		must(t, s.TouchAPIKey(t.Context(), k.ID, used))
		must(t, s.TouchAPIKey(t.Context(), k.ID, used.Add(-time.Second)))
		must(t, s.RevokeAPIKey(t.Context(), k.ID, used))
		must(t, s.RevokeAPIKey(t.Context(), k.ID, used.Add(time.Hour)))
		list := got[hub.Slice[*hub.APIKey]](t)(s.APIKeys(t.Context(), hub.Page{Size: 10})).Items
		if len(list) != 1 || !list[0].LastUsedAt.Equal(used) || !list[0].RevokedAt.Equal(used) {
			t.Fatalf("keys are %+v", list[0])
		}
		_, err := s.APIKey(t.Context(), "key_none")
		wantCode(t, err, hub.CodeNotFound)
		wantCode(t, s.RevokeAPIKey(t.Context(), "key_none", used), hub.CodeNotFound)

		newest := *k
		newest.ID = hub.NewID(hub.APIKeyPrefix, b.clock.Now().Add(time.Second))
		must(t, s.CreateAPIKey(t.Context(), &newest))
		first := got[hub.Slice[*hub.APIKey]](t)(s.APIKeys(t.Context(), hub.Page{Size: 1}))
		second := got[hub.Slice[*hub.APIKey]](t)(s.APIKeys(t.Context(), hub.Page{Size: 1, After: newest.ID}))
		if len(first.Items) != 1 || first.Items[0].ID != newest.ID || !first.HasNext || len(second.Items) != 1 || second.Items[0].ID != k.ID || second.HasNext {
			t.Fatalf("the pages are %+v and %+v", first, second)
		}
		if n := got[int](t)(s.CountAPIKeys(t.Context())); n != 2 {
			t.Fatalf("%d keys were counted", n)
		}
		found := got[map[string]*hub.APIKey](t)(s.APIKeysByID(t.Context(), []string{k.ID, "key_none", newest.ID}))
		if len(found) != 2 || found[k.ID].ID != k.ID || found[newest.ID].ID != newest.ID {
			t.Fatalf("found %+v", found)
		}
	})
}

func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		const clear = "in-the-clear-4711"
		newSource(t, s, b, func(src *hub.Source) {
			src.Secrets, src.ProviderConfig = []hub.Secret{clear}, map[string]any{"key": clear}
		})
		newEndpoint(t, s, b, func(e *hub.Endpoint) {
			e.Headers = []hub.Header{{Name: "Authorization", Value: clear}}
			e.SigningSecrets = []hub.SigningSecret{{ID: "sec_1", Secret: clear}}
		})
		must(t, s.Close())

		t.Run("are not readable in the database", func(t *testing.T) {
			if path, isFile := strings.CutPrefix(url, "sqlite:"); isFile {
				files, err := filepath.Glob(path + "*")
				must(t, err)
				for _, file := range files {
					if bytes.Contains(got[[]byte](t)(os.ReadFile(file)), []byte(clear)) {
						t.Errorf("%s holds a secret in the clear", file)
					}
				}
				info, err := os.Stat(path)
				must(t, err)
				if info.Mode().Perm() != 0o600 {
					t.Errorf("the file's mode is %v", info.Mode())
				}
				return
			}
			conn := got[*pgx.Conn](t)(pgx.Connect(t.Context(), url))
			defer func() { _ = conn.Close(t.Context()) }()
			var found int
			must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM sources, endpoints
				WHERE position($1::bytea IN secrets || provider_config || headers || signing_secrets) > 0`, []byte(clear)).Scan(&found))
			if found > 0 {
				t.Error("a row holds a secret in the clear")
			}
		})

		t.Run("with another key the start says what to do", func(t *testing.T) {
			s, _ := open(t, url, func(cfg *store.Config) { cfg.Keyring = sealer{key: 1} })
			if err := s.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "HOOKGRAPH_SECRET_KEY") {
				t.Fatalf("the error is %v", err)
			}
		})
	})
}

func TestRejections(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, other := newSource(t, s, b), newSource(t, s, b)
		reject := func(src *hub.Source, body []byte) string {
			r := &hub.Rejection{
				ID: hub.NewID(hub.RejectionPrefix, b.clock.Now()), SourceID: src.ID, Reason: hub.RejectedSignatureInvalid, Detail: "no \x00 match",
				Method: "POST", Headers: []hub.Header{{Name: "A", Value: "b"}}, Body: body, ReceivedAt: b.clock.Now(),
			}
			must(t, s.Reject(t.Context(), r))
			return r.ID
		}
		kept := func(src *hub.Source) int {
			return got[int](t)(s.CountRejections(t.Context(), hub.RejectionFilter{SourceIDs: []string{src.ID}}))
		}

		t.Run("come back with the start of their body", func(t *testing.T) {
			id := reject(other, bytes.Repeat([]byte{0xff}, hub.MaxRejectionBodyBytes+1))
			r := got[map[string]*hub.Rejection](t)(s.RejectionsByID(t.Context(), []string{id, "rej_none"}))[id]
			if r == nil || len(r.Body) != hub.MaxRejectionBodyBytes || r.Method != "POST" || len(r.Headers) != 1 || !r.ReceivedAt.Equal(b.clock.Now()) {
				t.Fatalf("rejection is %+v", r)
			}
		})

		t.Run("the oldest go first when there are too many bytes", func(t *testing.T) {
			var last string
			for range hub.MaxRejectionBytes/hub.MaxRejectionBodyBytes + 10 {
				last = reject(src, make([]byte, hub.MaxRejectionBodyBytes))
			}
			page := got[hub.Slice[*hub.Rejection]](t)(s.Rejections(t.Context(), hub.RejectionFilter{SourceIDs: []string{src.ID}}, hub.Page{Size: 1}))
			if n := kept(src); n != hub.MaxRejectionBytes/(hub.MaxRejectionBodyBytes+100) || page.Items[0].ID != last {
				t.Fatalf("%d are kept, the newest is %s", n, page.Items[0].ID)
			}
		})

		t.Run("the oldest go first when there are too many", func(t *testing.T) {
			var want []string
			for i := range hub.MaxRejections + 10 {
				if id := reject(src, nil); i >= 10 {
					want = append(want, id)
				}
			}
			slices.Reverse(want)
			var have []string
			for page := (hub.Page{Size: 100}); ; {
				list := got[map[string]hub.Slice[*hub.Rejection]](t)(s.RejectionsOfSources(t.Context(), []string{other.ID, src.ID}, page))[src.ID]
				for _, r := range list.Items {
					have = append(have, r.ID)
				}
				if !list.HasNext {
					break
				}
				page.After = have[len(have)-1]
			}
			if !slices.Equal(have, want) {
				t.Fatalf("%d are kept, want the newest %d", len(have), len(want))
			}
			counts := got[map[string]int](t)(s.CountRejectionsOfSources(t.Context(), []string{src.ID, other.ID, "src_none"}))
			if len(counts) != 2 || counts[src.ID] != hub.MaxRejections || counts[other.ID] != 1 {
				t.Fatalf("counts are %v", counts)
			}
		})
	})
}
