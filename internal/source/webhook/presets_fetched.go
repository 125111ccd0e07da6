package webhook

import (
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// baseSetting is where an API is that is not at its usual place.
func baseSetting(usual string) ConfigKey {
	return ConfigKey{Name: "baseUrl", Meaning: "where the API is, if not at " + usual, Check: func(value any) string {
		text, _ := value.(string)
		if !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://") || strings.ContainsAny(text, "?#") {
			return "this is a URL such as " + usual
		}
		return ""
	}}
}

var (
	ownerSetting = ConfigKey{Name: "owner", Meaning: "the organization, or the owner of the repository", Required: true, Check: checkSegment}
	repoSetting  = ConfigKey{Name: "repo", Meaning: "the repository; without it the organization", Check: checkSegment}
)

// checkSegment is the check of a setting that is one segment of a path.
func checkSegment(value any) string {
	if problem := checkSetting(value); problem != "" {
		return problem
	}
	if text, _ := value.(string); strings.Contains(text, "/") || text == "." || text == ".." {
		return "this is a name without a slash"
	}
	return ""
}

// fetchedPresets are what the hub gets events from itself. Packages poll and graphqlsub
// know how; here is what they need,
// and by which rules their items are events.
var fetchedPresets = []Provider{
	{
		Name:       "github-deliveries",
		Title:      "GitHub, deliveries of a webhook",
		Kind:       hub.SourcePoll,
		DocsURL:    "https://docs.github.com/en/rest/repos/webhooks#list-deliveries-for-a-repository-webhook",
		SecretHint: "none; poll.auth has a token that may read the webhook (bearer)",
		Config: []ConfigKey{
			ownerSetting, repoSetting,
			{Name: "hookId", Meaning: "the number of the webhook, the last part of the URL of its settings", Required: true, Check: checkSegment},
			baseSetting("https://api.github.com"),
		},
		Type:        Rule{{Func: githubType, Says: "`X-GitHub-Event`, with `.action` where the body has one: `issues.opened`"}},
		DedupeKey:   header("X-GitHub-Delivery"),
		OrderingKey: path("repository.full_name", "organization.login"),
	},
	{
		Name:        "github-events",
		Title:       "GitHub, events of a repository or an organization",
		Kind:        hub.SourcePoll,
		DocsURL:     "https://docs.github.com/en/rest/activity/events",
		SecretHint:  "none; poll.auth has a token (bearer), without which GitHub permits few requests",
		Config:      []ConfigKey{ownerSetting, repoSetting, baseSetting("https://api.github.com")},
		Type:        path("type"),
		DedupeKey:   path("id"),
		OccurredAt:  at(path("created_at"), signature.RFC3339),
		OrderingKey: path("repo.name"),
	},
	{
		Name:        "stripe-events",
		Title:       "Stripe, events",
		Kind:        hub.SourcePoll,
		DocsURL:     "https://docs.stripe.com/api/events/list",
		SecretHint:  "none; poll.auth has a restricted key that may read events (bearer)",
		Config:      []ConfigKey{baseSetting("https://api.stripe.com")},
		Type:        path("type"),
		DedupeKey:   path("id"),
		OccurredAt:  at(path("created"), signature.UnixSeconds),
		OrderingKey: path("data.object.id", "related_object.id"),
	},
	{
		Name:       "hookgraph",
		Title:      "Hookgraph, the events of another hub",
		Kind:       hub.SourceGraphQL,
		DocsURL:    "https://github.com/hookgraph/hookgraph/blob/main/docs/receiving.md",
		SecretHint: "none; graphql.auth has a key of the other hub (bearer) that may read events and payloads",
		DedupeKey:  plain.DedupeKey,
	},
}
