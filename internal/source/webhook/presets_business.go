package webhook

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/signature"
)

// businessPresets are the vendors of customers, documents, calendars and media.
var businessPresets = []Provider{
	{
		Name:       "hubspot",
		Title:      "HubSpot",
		DocsURL:    "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests",
		SecretHint: "the Client secret of the app (the Auth tab of its settings)",
		Verify:     verifyHubSpot,
		Method:     "`X-HubSpot-Signature-v3`: HMAC-SHA256 over method, URL, body and timestamp, ±5 min",
		Type:       path("0.subscriptionType", "subscriptionType"),
		// eventId alone is not unique among the subscriptions of an app.
		DedupeKey:   Rule{each("", "eventId", "subscriptionId", "occurredAt")},
		OccurredAt:  at(path("0.occurredAt", "occurredAt"), signature.UnixMillis),
		OrderingKey: path("0.objectId", "objectId"),
	},
	{
		Name:       "zendesk",
		Title:      "Zendesk",
		DocsURL:    "https://developer.zendesk.com/documentation/webhooks/verifying/",
		SecretHint: "the signing secret of the webhook (Admin Center, Apps and integrations, Webhooks, Reveal secret)",
		Scheme: &Scheme{
			Header: "X-Zendesk-Webhook-Signature", Format: signature.Plain("", signature.Base64), Algorithm: signature.SHA256, Key: textKey,
			Content:   []Part{SignedTimestamp, SignedBody},
			Timestamp: &Timestamp{Header: "X-Zendesk-Webhook-Signature-Timestamp", Form: signature.RFC3339, Tolerance: 5 * time.Minute},
		},
		Type:        path("type"),
		DedupeKey:   Rule{{Path: "id"}, {Header: "X-Zendesk-Webhook-Invocation-Id"}},
		OccurredAt:  at(path("time"), signature.RFC3339),
		OrderingKey: path("subject"),
	},
	{
		Name:       "typeform",
		Title:      "Typeform",
		DocsURL:    "https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
		SecretHint: "the text entered as Secret of the webhook (the form, Connect, Webhooks)",
		Scheme:     bodyHMAC("Typeform-Signature", "sha256=", signature.SHA256, signature.Base64),
		Type:       path("event_type"),
		DedupeKey:  path("event_id"),
		OccurredAt: at(path("form_response.submitted_at"), signature.RFC3339),
	},
	{
		Name:        "calendly",
		Title:       "Calendly",
		DocsURL:     "https://developer.calendly.com/api-docs/4c305798a61d3-webhook-signatures",
		SecretHint:  "the signing_key given to the webhook subscription when it was made through the API",
		Scheme:      timedHMAC("Calendly-Webhook-Signature", signature.Pairs(",", "t", "v1", signature.Hex), ".", signature.UnixSeconds, 3*time.Minute),
		Type:        path("event"),
		DedupeKey:   Rule{bodyHash},
		OccurredAt:  at(path("created_at"), signature.RFC3339),
		OrderingKey: path("payload.uri"),
	},
	{
		Name:        "docusign",
		Title:       "DocuSign Connect",
		DocsURL:     "https://developers.docusign.com/platform/webhooks/connect/hmac/",
		SecretHint:  "an HMAC key of the account (Settings, Connect, Connect Keys)",
		Verify:      verifyDocuSign,
		Method:      "`X-DocuSign-Signature-1`, `-2` and on: HMAC-SHA256 over the body",
		Type:        path("event"),
		DedupeKey:   Rule{fields("data.envelopeId", "event", "generatedDateTime")},
		OccurredAt:  at(path("generatedDateTime"), signature.RFC3339),
		OrderingKey: path("data.envelopeId"),
	},
	{
		Name:       "dropbox",
		Title:      "Dropbox",
		DocsURL:    "https://www.dropbox.com/developers/reference/webhooks",
		SecretHint: "the App secret (App Console, Settings of the app)",
		Scheme:     bodyHMAC("X-Dropbox-Signature", "", signature.SHA256, signature.Hex),
		Type:       Rule{{Func: firstKeyBesides(""), Says: "the first name in the body"}},
		// No key: the same body again means that something has changed again.
		Handshakes: []Handshake{dropboxChallenge},
	},
	{
		Name:        "mux",
		Title:       "Mux",
		DocsURL:     "https://www.mux.com/docs/core/verify-webhook-signatures",
		SecretHint:  "the signing secret of the webhook (Settings, Webhooks)",
		Scheme:      timedHMAC("Mux-Signature", signature.Pairs(",", "t", "v1", signature.Hex), ".", signature.UnixSeconds, 5*time.Minute),
		Type:        path("type"),
		DedupeKey:   path("id"),
		OccurredAt:  at(path("created_at"), signature.RFC3339),
		OrderingKey: path("object.id"),
	},
}
