package webhook

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/signature"
)

// versionZero is the scheme of Slack and Zoom.
func versionZero(list, timestamp string) *Scheme {
	return &Scheme{
		Header: list, Format: signature.Plain("v0=", signature.Hex), Algorithm: signature.SHA256, Key: textKey,
		Content:   []Part{Literal("v0:"), SignedTimestamp, Literal(":"), SignedBody},
		Timestamp: &Timestamp{Header: timestamp, Form: signature.UnixSeconds, Tolerance: 5 * time.Minute},
	}
}

// messagingPresets are the vendors of messages, mail, calls and meetings.
var messagingPresets = []Provider{
	{
		Name:        "slack",
		Title:       "Slack",
		DocsURL:     "https://docs.slack.dev/authentication/verifying-requests-from-slack/",
		SecretHint:  "the Signing Secret of the app (Basic Information, App Credentials)",
		Scheme:      versionZero("X-Slack-Signature", "X-Slack-Request-Timestamp"),
		FormField:   "payload", // of interactions; commands are forms without it
		Type:        Rule{{Path: "event.type"}, {Path: "type"}, {Form: "command"}},
		DedupeKey:   path("event_id"),
		OccurredAt:  at(path("event_time"), signature.UnixSeconds),
		OrderingKey: path("event.channel"),
		Handshakes:  []Handshake{slackURL, slackCertificate},
	},
	{
		Name:        "twilio",
		Title:       "Twilio, forms",
		DocsURL:     "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
		SecretHint:  "the Auth Token of the account (Console, Account Info)",
		Verify:      verifyTwilioForm,
		Method:      "`X-Twilio-Signature`: HMAC-SHA1 over the URL and the form's sorted fields",
		Type:        Rule{{Form: "MessageStatus"}, {Form: "SmsStatus"}, {Form: "CallStatus"}},
		DedupeKey:   header("I-Twilio-Idempotency-Token"),
		OccurredAt:  at(Rule{{Form: "Timestamp"}}, signature.RFC5322), // of calls
		OrderingKey: Rule{{Form: "MessageSid"}, {Form: "CallSid"}},
	},
	{
		Name:       "twilio-json",
		Title:      "Twilio, JSON",
		DocsURL:    "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
		SecretHint: "the Auth Token of the account (Console, Account Info)",
		Verify:     verifyTwilioJSON,
		Method:     "`X-Twilio-Signature`: HMAC-SHA1 over the URL, whose `bodySHA256` is the hash of the body",
		Type:       path("EventType", "type", "0.type"),
		DedupeKey:  Rule{{Header: "I-Twilio-Idempotency-Token"}, {Path: "0.id"}},
		OccurredAt: at(path("DateCreated", "0.time"), signature.RFC3339),
	},
	{
		Name:       "sendgrid",
		Title:      "SendGrid",
		DocsURL:    "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
		SecretHint: "none; the verification key is publicKey (Settings, Mail Settings, Event Webhooks)",
		Config:     []ConfigKey{keySetting("the Verification Key of the signed event webhook; or a list of them while it changes", ecdsaKey)},
		Verify:     verifySendGrid, Key: asSecretKey(ecdsaKey), SecretsOptional: true,
		Method:      "`X-Twilio-Email-Event-Webhook-Signature`: ECDSA P-256 over timestamp and body, ±10 min",
		Type:        path("0.event"),
		DedupeKey:   Rule{each("", "sg_event_id")},
		OccurredAt:  at(path("0.timestamp"), signature.UnixSeconds),
		OrderingKey: path("0.sg_message_id"),
	},
	{
		Name:        "mailgun",
		Title:       "Mailgun",
		DocsURL:     "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
		SecretHint:  "the HTTP webhook signing key of the account (API Security)",
		Verify:      verifyMailgun,
		Method:      "`signature` in the body: HMAC-SHA256 over timestamp and token, ±5 min; a token counts for one body",
		Type:        path("event-data.event"),
		DedupeKey:   path("event-data.id"),
		OccurredAt:  TimeRule{path("event-data.timestamp"), []signature.TimeForm{signature.UnixSeconds, signature.UnixFraction}},
		OrderingKey: path("event-data.message.headers.message-id"),
	},
	{
		Name:       "postmark",
		Title:      "Postmark",
		DocsURL:    "https://postmarkapp.com/developer/webhooks/webhooks-overview",
		SecretHint: "none; what the webhook sends is username and password, chosen by you (the server's message stream, Webhooks, Basic auth credentials). Secrets count beside password while it changes",
		Config: []ConfigKey{
			{Name: "username", Meaning: "the user name of HTTP Basic in the webhook's URL", Required: true},
			{Name: "password", Meaning: "the password of HTTP Basic in the webhook's URL", Verifies: true},
		},
		Verify: basicFromConfig, SecretsOptional: true, Check: needs("password", "give the password that is in the webhook's URL"),
		Method: "HTTP Basic with `username` and `password`",
		Type:   path("RecordType"),
		// One message is opened more than once, so its ID and the record's type alone
		// would make one event of several.
		DedupeKey:   Rule{fields("MessageID", "RecordType", "ReceivedAt", "DeliveredAt", "BouncedAt", "ChangedAt", "ID")},
		OccurredAt:  at(path("ReceivedAt", "DeliveredAt", "BouncedAt", "ChangedAt"), signature.RFC3339),
		OrderingKey: path("MessageID"),
	},
	{
		Name:        "zoom",
		Title:       "Zoom",
		DocsURL:     "https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events",
		SecretHint:  "the Secret Token of the app (App Marketplace, the app, Features, Access)",
		Scheme:      versionZero("X-Zm-Signature", "X-Zm-Request-Timestamp"),
		Type:        path("event"),
		DedupeKey:   Rule{bodyHash},
		OccurredAt:  at(path("event_ts"), signature.UnixMillis),
		OrderingKey: path("payload.object.uuid", "payload.object.id"),
		Handshakes:  []Handshake{zoomURL},
	},
	{
		Name:       "discord",
		Title:      "Discord",
		DocsURL:    "https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint",
		SecretHint: "none; the application's public key is publicKey (Developer Portal, General Information)",
		Config:     []ConfigKey{keySetting("the Public Key of the application, in hexadecimal; or a list of them while it changes", ed25519Hex)},
		Verify:     verifyDiscord, Key: asSecretKey(ed25519Hex), SecretsOptional: true,
		Method:      "`X-Signature-Ed25519`: Ed25519 over timestamp and body",
		Type:        path("event.type", "type"),
		DedupeKey:   Rule{{Path: "id"}, bodyHash},
		OccurredAt:  at(path("event.timestamp"), signature.RFC3339, signature.NoZone), // events come without a zone
		OrderingKey: path("channel_id"),
		Handshakes:  []Handshake{discordPing},
	},
	{
		Name:        "meta",
		Title:       "Meta and WhatsApp",
		DocsURL:     "https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
		SecretHint:  "the App Secret (App Dashboard, App settings, Basic)",
		Config:      []ConfigKey{{Name: "verifyToken", Meaning: "the Verify Token entered in the app's webhook settings; without it, no verification is answered"}},
		Scheme:      bodyHMAC("X-Hub-Signature-256", "sha256=", signature.SHA256, signature.Hex),
		Type:        path("entry.0.changes.0.field", "object"),
		DedupeKey:   Rule{{Func: metaMessage, Says: "ID of the one message or status"}, bodyHash},
		OccurredAt:  at(path("entry.0.changes.0.value.messages.0.timestamp", "entry.0.changes.0.value.statuses.0.timestamp", "entry.0.time"), signature.UnixSeconds, signature.UnixMillis),
		OrderingKey: path("entry.0.changes.0.value.messages.0.from"),
		Handshakes:  []Handshake{metaChallenge},
	},
	{
		Name:        "intercom",
		Title:       "Intercom",
		DocsURL:     "https://developers.intercom.com/docs/webhooks/webhook-notifications",
		SecretHint:  "the Client secret of the app (Developer Hub, Configure, Basic information)",
		Scheme:      bodyHMAC("X-Hub-Signature", "sha1=", signature.SHA1, signature.Hex),
		Type:        path("topic"),
		DedupeKey:   path("id"),
		OccurredAt:  at(path("created_at"), signature.UnixSeconds),
		OrderingKey: path("data.item.id"),
		Handshakes:  []Handshake{headOK},
	},
	{
		Name:        "telegram",
		Title:       "Telegram",
		DocsURL:     "https://core.telegram.org/bots/api#setwebhook",
		SecretHint:  "the secret_token given to setWebhook",
		Verify:      token("X-Telegram-Bot-Api-Secret-Token"),
		Method:      "`X-Telegram-Bot-Api-Secret-Token` equals the secret",
		Type:        Rule{{Func: firstKeyBesides("update_id"), Says: "the first name in the body besides `update_id`"}},
		DedupeKey:   path("update_id"),
		OccurredAt:  at(Rule{{Func: telegramField("date"), Says: "`date` of the update"}}, signature.UnixSeconds),
		OrderingKey: Rule{{Func: telegramField("chat.id"), Says: "`chat.id` of the update"}},
	},
	{
		Name:        "line",
		Title:       "LINE",
		DocsURL:     "https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/",
		SecretHint:  "the Channel secret (LINE Developers Console, Basic settings of the channel)",
		Scheme:      bodyHMAC("X-Line-Signature", "", signature.SHA256, signature.Base64),
		Type:        path("events.0.type"),
		DedupeKey:   Rule{each("events", "webhookEventId")},
		OccurredAt:  at(path("events.0.timestamp"), signature.UnixMillis),
		OrderingKey: path("events.0.source.userId"),
		Handshakes:  []Handshake{noEvents("check of the console (POST)")},
	},
}

// telegramField finds a field of the update, whatever the update is.
func telegramField(name string) func(*Provider, *Request) string {
	first := firstKeyBesides("update_id")
	return func(p *Provider, r *Request) string {
		kind := first(p, r)
		if kind == "" || !plainName(kind) {
			return ""
		}
		return r.lookup("", kind+"."+name)
	}
}

// plainName reports whether a name means itself within a path.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// metaMessage is the key of a notification of one change with one message or status.
func metaMessage(p *Provider, r *Request) string {
	if r.lookup("", "entry.#") != "1" || r.lookup("", "entry.0.changes.#") != "1" {
		return ""
	}
	const value = "entry.0.changes.0.value."
	messages, statuses := r.lookup("", value+"messages.#"), r.lookup("", value+"statuses.#")
	switch {
	case messages == "1" && (statuses == "" || statuses == "0"):
		return r.lookup("", value+"messages.0.id")
	case statuses == "1" && (messages == "" || messages == "0"):
		return fields(value+"statuses.0.id", value+"statuses.0.status").Func(p, r)
	}
	return ""
}
