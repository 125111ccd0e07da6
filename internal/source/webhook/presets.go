package webhook

import (
	"errors"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Presets returns the providers that a source can name.
func Presets() *Table { return presets }

var presets = NewTable(
	Provider{
		Name:       "standard-webhooks",
		Title:      "Standard Webhooks",
		DocsURL:    "https://www.standardwebhooks.com/",
		SecretHint: "whsec_ and 32 to 88 characters of base64, as the sender shows it for this URL",
		Scheme: &Scheme{
			Header:    signature.HeaderSignature,
			Format:    signature.Standard(),
			Algorithm: signature.SHA256,
			Key:       signature.ParseForeignSecret,
			Content:   []Part{SignedID, Literal("."), SignedTimestamp, Literal("."), SignedBody},
			IDHeader:  signature.HeaderID,
			Timestamp: &Timestamp{Header: signature.HeaderTimestamp, Form: signature.UnixSeconds, Tolerance: signature.StandardTolerance},
		},
		Type:       Rule{{Path: "type"}},
		DedupeKey:  Rule{{Header: signature.HeaderID}},
		OccurredAt: TimeRule{Rule{{Path: "timestamp"}}, []signature.TimeForm{signature.RFC3339}},
	},
	Provider{
		Name:       "github",
		Title:      "GitHub",
		DocsURL:    "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
		SecretHint: "the text entered as Secret in the webhook's settings",
		Scheme: &Scheme{
			Header:    "X-Hub-Signature-256",
			Format:    signature.Plain("sha256=", signature.Hex),
			Algorithm: signature.SHA256,
			Key:       textKey,
			Content:   []Part{SignedBody},
		},
		FormField: "payload",
		// issues and the body's action opened make issues.opened; push has no action.
		Type:      Rule{{Func: githubType}},
		DedupeKey: Rule{{Header: "X-GitHub-Delivery"}}, // kept when GitHub redelivers
		// What happens in one repository is what users want in order.
		OrderingKey: Rule{{Path: "repository.full_name"}, {Path: "organization.login"}},
	},
	Provider{
		Name:       "stripe",
		Title:      "Stripe",
		DocsURL:    "https://docs.stripe.com/webhooks#verify-official-libraries",
		SecretHint: "whsec_ and more, shown as Signing secret of the webhook endpoint; all of it is the key",
		Scheme: &Scheme{
			Header:    "Stripe-Signature",
			Format:    signature.Pairs(",", "t", "v1", signature.Hex),
			Algorithm: signature.SHA256,
			Key:       textKey,
			Content:   []Part{SignedTimestamp, Literal("."), SignedBody},
			Timestamp: &Timestamp{Form: signature.UnixSeconds, Tolerance: 5 * time.Minute},
		},
		Type:       Rule{{Path: "type"}},
		DedupeKey:  Rule{{Path: "id"}},
		OccurredAt: TimeRule{Rule{{Path: "created"}}, []signature.TimeForm{signature.UnixSeconds, signature.RFC3339}},
		// The object that changed; thin events name it apart.
		OrderingKey: Rule{{Path: "data.object.id"}, {Path: "related_object.id"}},
	},
)

func githubType(p *Provider, r *Request) string {
	name := r.Header.Get("X-GitHub-Event")
	if name == "" {
		return ""
	}
	if action := r.lookupString(p.FormField, "action"); action != "" {
		return name + "." + action
	}
	return name
}

var errEmptySecret = errors.New("the secret is empty")

// textKey takes the characters of a secret as they are.
func textKey(secret hub.Secret) ([]byte, error) {
	if secret == "" {
		return nil, errEmptySecret
	}
	return []byte(secret.Reveal()), nil
}
