package webhook

import (
	"github.com/hookgraph/hookgraph/internal/signature"
)

const standardHint = "whsec_ and base64, as the sender shows it for this URL"

// standardPresets are the vendors of Standard Webhooks and what came before it.
var standardPresets = []Provider{
	{
		Name:       "standard-webhooks",
		Title:      "Standard Webhooks",
		DocsURL:    "https://www.standardwebhooks.com/",
		SecretHint: standardHint,
		Scheme:     standardScheme(signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature),
		Type:       path("type"),
		DedupeKey:  header(signature.HeaderID),
		OccurredAt: at(path("timestamp"), signature.RFC3339),
	},
	{
		Name:       "standard-webhooks-v1a",
		Title:      "Standard Webhooks, Ed25519",
		DocsURL:    "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
		SecretHint: "none; the sender's public key is publicKey",
		Config:     []ConfigKey{keySetting("the sender's public key: "+publicKeyPrefix+" and base64; or a list of them while it changes", ed25519Standard)},
		Verify:     verifyStandardV1a, Key: asSecretKey(ed25519Standard), SecretsOptional: true,
		Method:     "`webhook-signature`: Ed25519 over `id.timestamp.body`, ±5 min",
		Type:       path("type"),
		DedupeKey:  header(signature.HeaderID),
		OccurredAt: at(path("timestamp"), signature.RFC3339),
	},
	{
		Name:       "svix",
		Title:      "Svix",
		DocsURL:    "https://docs.svix.com/receiving/verifying-payloads/how-manual",
		SecretHint: standardHint + " (the endpoint's Signing Secret)",
		Scheme:     svixScheme(),
		Type:       path("type", "eventType"),
		DedupeKey:  svixID,
		OccurredAt: at(path("timestamp"), signature.RFC3339, signature.UnixMillis),
	},
	{
		Name:        "resend",
		Title:       "Resend",
		DocsURL:     "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests",
		SecretHint:  standardHint + " (Webhooks, the webhook, Signing Secret)",
		Scheme:      svixScheme(),
		Type:        path("type"),
		DedupeKey:   svixID,
		OccurredAt:  at(path("created_at"), signature.RFC3339),
		OrderingKey: path("data.email_id"),
	},
	{
		Name:        "openai",
		Title:       "OpenAI",
		DocsURL:     "https://platform.openai.com/docs/guides/webhooks",
		SecretHint:  standardHint + " (Settings, Webhooks)",
		Scheme:      standardScheme(signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature),
		Type:        path("type"),
		DedupeKey:   header(signature.HeaderID),
		OccurredAt:  at(path("created_at"), signature.UnixSeconds),
		OrderingKey: path("data.id"),
	},
	{
		Name:        "gitlab-signing-token",
		Title:       "GitLab, by signing token",
		DocsURL:     "https://docs.gitlab.com/user/project/integrations/webhooks/",
		SecretHint:  standardHint + " (Settings, Webhooks, Signing token)",
		Scheme:      standardScheme(signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature),
		Type:        header("X-Gitlab-Event"),
		DedupeKey:   header(signature.HeaderID),
		OccurredAt:  gitlabTime,
		OrderingKey: path("project.path_with_namespace"),
	},
}
