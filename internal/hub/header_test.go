package hub_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	hidden := []string{
		"Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-GITLAB-TOKEN", "X-Telegram-Bot-Api-Secret-Token",
		"X-Github-Encoded-Secret", "X-Password", "X-Credential-Id", strings.Repeat("x", 100) + "-token", "X-Mine",
	}
	shown := []string{"Idempotency-Key", "X-Event-Key", "Kafka-Key", "Amqp-Routing-Key", "Ce-Partitionkey", "Stripe-Signature", "X-Hub-Signature-256", "Webhook-Id", "Content-Type", "Host", ""}
	var headers []hub.Header
	for _, name := range slices.Concat(hidden, shown) {
		headers = append(headers, hub.Header{Name: name, Value: "value"})
	}
	for i, h := range hub.Redact(headers, "x-mine") {
		if got := h.Value != "value"; h.Name != headers[i].Name || got != slices.Contains(hidden, h.Name) {
			t.Errorf("%q is redacted: %v", h.Name, got)
		}
		if headers[i].Value != "value" {
			t.Errorf("%q is redacted in the original too", h.Name)
		}
	}
}
