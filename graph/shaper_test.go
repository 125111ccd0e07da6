package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// shaper makes a shaper over the hub's store, as the app does.
func (b *bundle) shaper() *graph.Shaper {
	b.t.Helper()
	matcher, err := match.New()
	must(b.t, err)
	s, err := graph.NewShaper(graph.ShaperConfig{
		View: func(sight hub.Sight) graph.View { return b.store.For(sight) }, Matcher: matcher, PublicURL: "https://hub.example",
		Fingerprint: func(hub.Secret) string { return "" },
	})
	must(b.t, err)
	return s
}

func shapedBy(kind hub.TransformKind, expression string) *hub.Transform {
	return &hub.Transform{Kind: kind, Expression: expression}
}

func inHand(b *bundle, body string) *hub.Event {
	return &hub.Event{
		ID: hub.NewID(hub.EventPrefix, now()), SourceID: b.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug].ID,
		Type: "invoice.paid", ReceivedAt: now(), ContentType: "application/json", Payload: &hub.Payload{Body: []byte(body)},
	}
}

func TestShapingReadsNothingThatIsInHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.shaper()
	event := inHand(b, `{"amount":12.50}`)
	transform := shapedBy(hub.TransformGraphQL, `{ id type amount: payload(path: "$.amount") payload headers { name } source { slug name } }`)
	must(t, s.CheckTransform("", transform))
	b.mu.Lock()
	before := len(b.statements)
	b.mu.Unlock()
	body, err := s.Shape(t.Context(), "", transform, event)
	must(t, err)
	want := fmt.Sprintf(`{"id":%q,"type":"invoice.paid","amount":12.50,"payload":{"amount":12.50},"headers":[],"source":{"slug":"api","name":%q}}`,
		event.ID, b.store.Configuration().SourcesBySlug["api"].Name)
	if string(body.Bytes) != want || body.ContentType != "application/json" {
		t.Errorf("got %s, want %s", body.Bytes, want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if made := b.statements[before:]; len(made) > 0 {
		t.Errorf("statements: %s", made)
	}
}

func TestShapingFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.shaper()
	t.Run("where a body would be too large", func(t *testing.T) {
		t.Parallel()
		event := inHand(b, `"`+strings.Repeat("x", 600<<10)+`"`)
		for _, transform := range []*hub.Transform{
			shapedBy(hub.TransformGraphQL, `{ payload again: payload }`), shapedBy(hub.TransformCEL, `[body, body]`),
		} {
			if _, err := s.Shape(t.Context(), "", transform, event); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
				t.Errorf("%s: %v", transform.Kind, err)
			}
		}
	})
	t.Run("for later where it is cut off", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Shape(ctx, "", shapedBy(hub.TransformGraphQL, `{ id }`), inHand(b, `1`))
		if hub.CodeOf(err) != hub.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	})
	t.Run("for good where it takes too long", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err := s.Shape(ctx, "", shapedBy(hub.TransformGraphQL, `{ id }`), inHand(b, `1`))
		if hub.CodeOf(err) != hub.CodeTimeout {
			t.Errorf("got %v", err)
		}
	})
	t.Run("for later where the database fails", func(t *testing.T) {
		t.Parallel()
		own := setup(t)
		s, event := own.shaper(), inHand(own, `1`)
		must(t, own.store.Close())
		_, err := s.Shape(t.Context(), "", shapedBy(hub.TransformGraphQL, `{ deliveries { nodes { id } } }`), event)
		if hub.CodeOf(err) != hub.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	})
	t.Run("where there is no such kind", func(t *testing.T) {
		t.Parallel()
		var e *match.ExpressionError
		if err := s.CheckTransform("", shapedBy("XSLT", "x")); !errors.As(err, &e) {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever somebody writes as a selection, it is refused with its place, or its result
// is one JSON object within the bounds, or an error.
func FuzzSelection(f *testing.F) {
	for _, text := range []string{
		`{ id }`, `{ id type payload(path: "$.a") }`, `{ ...f } fragment f on Event { id }`, `{ id } { id }`, `{ id } event(id: "x") { id }`,
		`{ id __typename __schema { types { name } } }`, `{ trace { step delivery { event { trace { step } } } } }`, `query { id }`, `{`, `}`,
		`{ a: id a: type }`, `{ id @skip(if: true) }`, `{ payload(path: "$..a") }`, `{ source { events { nodes { payload } } } }`, "\ufeff{id}", `#`, `{ payload(path: $id) }`,
	} {
		f.Add(text, `{"a":[1,{"a":1e999}]}`)
	}
	b := setup(f)
	s := b.shaper()
	f.Fuzz(func(t *testing.T, text, body string) {
		transform := shapedBy(hub.TransformGraphQL, text)
		if err := s.CheckTransform("", transform); err != nil {
			var e *match.ExpressionError
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		made, err := s.Shape(t.Context(), "", transform, inHand(b, body))
		if err != nil {
			return
		}
		if !json.Valid(made.Bytes) || made.Bytes[0] != '{' || len(made.Bytes) > hub.MaxShapedBytes || bytes.Contains(made.Bytes, []byte(`"__schema"`)) {
			t.Fatalf("made %.300s", made.Bytes)
		}
	})
}

// What shaping costs per event, and how often it costs what a filter on the body does.
func BenchmarkShape(b *testing.B) {
	matcher, err := match.New()
	must(b, err)
	bench := setup(b)
	s := bench.shaper()
	body := `{"id":"in_1","amount":4200,"customer":{"tier":3,"name":"Ada"},"pad":"` + strings.Repeat("x", 900) + `"}`
	event := inHand(bench, body)
	var baseline float64
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"none", func() error { _, err := s.Shape(b.Context(), "", nil, event); return err }},
		{"filter", func() error { _, err := matcher.Admits(`body.amount > 100`, event, "api"); return err }},
		{"CEL", func() error {
			_, err := s.Shape(b.Context(), "", shapedBy(hub.TransformCEL, `{"id": event.id, "amount": body.amount, "name": body.customer.name}`), event)
			return err
		}},
		{"GRAPHQL without payload", func() error {
			_, err := s.Shape(b.Context(), "", shapedBy(hub.TransformGraphQL, `{ id type source { slug } }`), event)
			return err
		}},
		{"GRAPHQL", func() error {
			_, err := s.Shape(b.Context(), "", shapedBy(hub.TransformGraphQL, `{ id amount: payload(path: "$.amount") name: payload(path: "$.customer.name") }`), event)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(b, c.do())
			}
			each := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			if c.name == "filter" {
				baseline = each
			}
			if baseline > 0 {
				b.ReportMetric(each/baseline, "×filter")
			}
		})
	}
}
