package webhook

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/signature"
)

// developmentPresets are the vendors of code, work and the systems around them.
var developmentPresets = []Provider{
	{
		Name:       "github",
		Title:      "GitHub",
		DocsURL:    "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
		SecretHint: "the text entered as Secret in the webhook's settings (Settings of the repository, organization or app, Webhooks)",
		Scheme:     bodyHMAC("X-Hub-Signature-256", "sha256=", signature.SHA256, signature.Hex),
		FormField:  "payload",
		// issues and the body's action opened make issues.opened; push has no action.
		Type:      Rule{{Func: githubType, Says: "`X-GitHub-Event`, with `.action` where the body has one: `issues.opened`"}},
		DedupeKey: header("X-GitHub-Delivery"), // kept when GitHub redelivers
		// What happens in one repository is what users want in order.
		OrderingKey: path("repository.full_name", "organization.login"),
	},
	{
		Name:        "gitlab",
		Title:       "GitLab, by secret token",
		DocsURL:     "https://docs.gitlab.com/user/project/integrations/webhooks/",
		SecretHint:  "the text entered as Secret token in the webhook's settings (Settings, Webhooks)",
		Verify:      token("X-Gitlab-Token"),
		Method:      "`X-Gitlab-Token` equals the secret",
		Type:        header("X-Gitlab-Event"),
		DedupeKey:   Rule{{Header: "Idempotency-Key"}, {Header: "X-Gitlab-Event-UUID"}},
		OccurredAt:  gitlabTime,
		OrderingKey: path("project.path_with_namespace"),
	},
	{
		Name:        "bitbucket",
		Title:       "Bitbucket",
		DocsURL:     "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
		SecretHint:  "the text entered as Secret in the webhook's settings (Repository settings, Webhooks)",
		Scheme:      bodyHMAC("X-Hub-Signature", "sha256=", signature.SHA256, signature.Hex),
		Type:        header("X-Event-Key"),
		DedupeKey:   header("X-Request-UUID"),
		OrderingKey: path("repository.full_name"),
	},
	{
		Name:       "linear",
		Title:      "Linear",
		DocsURL:    "https://linear.app/developers/webhooks#securing-webhooks",
		SecretHint: "lin_wh_ and more, shown as Signing secret of the webhook (Settings, API)",
		Scheme: &Scheme{
			Header: "Linear-Signature", Format: signature.Plain("", signature.Hex), Algorithm: signature.SHA256, Key: textKey,
			Content:   []Part{SignedBody},
			Timestamp: &Timestamp{Path: "webhookTimestamp", Form: signature.UnixMillis, Tolerance: time.Minute},
		},
		Type:        Rule{{Func: linearType, Says: "`Linear-Event`, else `type` in the body, with `.action` where the body has one"}},
		DedupeKey:   header("Linear-Delivery"),
		OccurredAt:  at(path("createdAt"), signature.RFC3339),
		OrderingKey: path("data.id"),
	},
	{
		Name:            "notion",
		Title:           "Notion",
		DocsURL:         "https://developers.notion.com/reference/webhooks",
		SecretHint:      "secret_ and more: the verification token that Notion sends first. Make the source without it, let Notion send it, find it among the source's rejections, and save it here",
		Scheme:          bodyHMAC("X-Notion-Signature", "sha256=", signature.SHA256, signature.Hex),
		SecretsOptional: true,
		Type:            path("type"),
		DedupeKey:       path("id"),
		OccurredAt:      at(path("timestamp"), signature.RFC3339),
		OrderingKey:     path("entity.id"),
		Handshakes:      []Handshake{notionToken},
	},
	{
		Name:       "trello",
		Title:      "Trello",
		DocsURL:    "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
		SecretHint: "the secret of the application whose API key made the webhook (the API key page of the Power-Up at trello.com/power-ups/admin)",
		Scheme: &Scheme{
			Header: "X-Trello-Webhook", Format: signature.Plain("", signature.Base64), Algorithm: signature.SHA1, Key: textKey,
			Content: []Part{SignedBody, SignedURL},
		},
		Type:        path("action.type"),
		DedupeKey:   path("action.id"),
		OccurredAt:  at(path("action.date"), signature.RFC3339),
		OrderingKey: path("model.id"),
		Handshakes:  []Handshake{headOK},
	},
	{
		Name:        "workos",
		Title:       "WorkOS",
		DocsURL:     "https://workos.com/docs/events/data-syncing/webhooks",
		SecretHint:  "the Signing secret of the webhook endpoint (Dashboard, Webhooks)",
		Scheme:      timedHMAC("WorkOS-Signature", signature.Pairs(",", "t", "v1", signature.Hex), ".", signature.UnixMillis, 3*time.Minute),
		Type:        path("event"),
		DedupeKey:   path("id"),
		OccurredAt:  at(path("created_at"), signature.RFC3339),
		OrderingKey: path("data.id"),
	},
	{
		Name:       "okta",
		Title:      "Okta",
		DocsURL:    "https://developer.okta.com/docs/concepts/event-hooks/",
		SecretHint: "none; what the hook sends is authHeader and authSecret (Workflow, Event Hooks). Secrets count beside authSecret while it changes",
		Config: []ConfigKey{
			{Name: "authHeader", Meaning: "the Authentication field of the event hook: the name of a header; without it, Authorization", Check: checkHeaderName},
			{Name: "authSecret", Meaning: "the Authentication secret of the event hook", Verifies: true},
		},
		Verify: headerFromConfig, SecretsOptional: true, Check: needs("authSecret", "give the event hook's authentication secret"),
		Method:     "the header `authHeader` equals `authSecret`",
		Type:       path("data.events.0.eventType", "eventType"),
		DedupeKey:  Rule{each("data.events", "uuid")},
		OccurredAt: at(path("data.events.0.published", "eventTime"), signature.RFC3339),
		Handshakes: []Handshake{oktaChallenge},
	},
}

// gitlabTime is where GitLab's events have a time. Those of merge requests and
// pipelines do not write it as the documentation says.
var gitlabTime = at(path("object_attributes.updated_at", "object_attributes.finished_at", "object_attributes.created_at"), signature.RFC3339, signature.SpacedUTC)

func githubType(p *Provider, r *Request) string {
	return withAction(p, r, r.Header.Get("X-GitHub-Event"))
}

func linearType(p *Provider, r *Request) string {
	name := r.Header.Get("Linear-Event")
	if name == "" {
		name = r.lookupString(p.FormField, "type")
	}
	return withAction(p, r, name)
}

// withAction appends the body's action to the name of an event.
func withAction(p *Provider, r *Request, name string) string {
	if name == "" {
		return ""
	}
	if action := r.lookupString(p.FormField, "action"); action != "" {
		return name + "." + action
	}
	return name
}
