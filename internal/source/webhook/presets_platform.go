package webhook

import (
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// platformPresets are the event buses of clouds.
var platformPresets = []Provider{
	{
		Name:       "aws-sns",
		Title:      "Amazon SNS",
		DocsURL:    "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
		SecretHint: "none; the topic is topicArn (SNS console, Topics)",
		Config:     []ConfigKey{{Name: "topicArn", Meaning: "the ARN of the one topic that may send", Required: true, Verifies: true}, certSetting},
		Verify:     verifySNS, SecretsOptional: true, Fetches: pinCertificate,
		Method:     "`Signature` in the body: RSA over its members, by the certificate of `SigningCertURL` at amazonaws.com, ±1 h",
		Type:       path("Type"),
		DedupeKey:  path("MessageId"),
		OccurredAt: at(path("Timestamp"), signature.RFC3339),
		Handshakes: []Handshake{snsConfirm},
	},
	{
		Name:        "azure-eventgrid",
		Title:       "Azure Event Grid",
		DocsURL:     "https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-event-grid-events-schema",
		SecretHint:  "a text of your own, in the URL given to the subscription (?code=…) or in a delivery property (Authorization or aeg-sas-key)",
		Verify:      tokenOrQuery([]string{"code", "key", "token", "access_token", "secret"}, "Authorization", "Aeg-Sas-Key"),
		Method:      "a secret in `Authorization`, `aeg-sas-key` or the URL (`?code=`)",
		Type:        path("0.eventType", "0.type", "eventType", "type"),
		DedupeKey:   Rule{each("", "id")},
		OccurredAt:  at(path("0.eventTime", "0.time", "eventTime", "time"), signature.RFC3339),
		OrderingKey: path("0.subject", "subject"),
		Handshakes: []Handshake{gridValidation, allowOrigin(func(_ *hub.Source, origin string) bool {
			return strings.EqualFold(origin, "eventgrid.azure.net")
		})},
	},
	{
		Name:       "cloudevents",
		Title:      "CloudEvents",
		DocsURL:    "https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md",
		SecretHint: "a text of your own that the sender gives as Authorization: Bearer or ?access_token=",
		Config: []ConfigKey{{
			Name: "allowedOrigins", Meaning: "the origins that may ask to send, as a list or separated by commas, or *; without it, any",
			Check: checkEach(func(string) string { return "" }),
		}},
		Verify:      tokenOrQuery([]string{"access_token"}, "Authorization"),
		Method:      "`Authorization: Bearer` or `access_token` in the URL equals the secret",
		Type:        Rule{{Header: "Ce-Type"}, {Path: "type"}, {Path: "0.type"}},
		DedupeKey:   Rule{{Func: cloudEventKey, Says: "`ce-source` and `ce-id`, or `source` and `id` in the body"}},
		OccurredAt:  at(Rule{{Header: "Ce-Time"}, {Path: "time"}, {Path: "0.time"}}, signature.RFC3339),
		OrderingKey: Rule{{Header: "Ce-Partitionkey"}, {Path: "partitionkey"}},
		Handshakes:  []Handshake{allowOrigin(allowedOrigin)},
	},
}

// cloudEventKey is the pair that is unique by the specification; in the binary mode
// it is in headers.
func cloudEventKey(p *Provider, r *Request) string {
	if id := r.Header.Get("Ce-Id"); id != "" {
		return joinKey(r.Header.Get("Ce-Source"), id)
	}
	return each("", "source", "id").Func(p, r)
}

// checkHeaderName is the check of a setting that names a header.
func checkHeaderName(value any) string {
	if name, ok := value.(string); !ok || len(name) > maxHeaderNameBytes || !hub.IsHeaderName(name) || strings.EqualFold(name, "Host") {
		return "this setting is the name of a header"
	}
	return ""
}

// oneOf makes the check of a setting with a few values.
func oneOf(values ...string) func(any) string {
	return func(value any) string {
		if text, ok := value.(string); !ok || !slices.Contains(values, text) {
			return "this setting is " + strings.Join(values, " or ")
		}
		return ""
	}
}

// needs makes the check of a vendor whose secret is in the configuration, or else
// among the secrets.
func needs(name, problem string) func(*hub.Source) ([]string, string) {
	return func(src *hub.Source) ([]string, string) {
		if src.ProviderConfig[name] == nil && len(src.Secrets) == 0 {
			return []string{"providerConfig", name}, problem
		}
		return nil, ""
	}
}
