package webhook

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

var update = flag.Bool("update", false, "write docs/providers.md anew")

const providersPage = "../../../docs/providers.md"

// TestProvidersPage keeps the page about providers what the table says.
func TestProvidersPage(t *testing.T) {
	t.Parallel()
	want := document(Presets(), vendorVersions(t))
	if *update {
		if err := os.WriteFile(providersPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(providersPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/providers.md is not what the table says; run go generate ./internal/source/webhook")
	}
}

// document writes the page.
func document(table *Table, versions map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Providers

What a webhook source accepts as ` + "`provider`" + `. This page is generated from the table that the hub verifies by; the query ` + "`providers`" + ` shows the same. How requests are received and refused is told in [Receiving](receiving.md).

Secrets go into ` + "`secrets`" + ` and are tried in turn; whatever else a provider needs goes into ` + "`providerConfig`" + `. Where a time is signed, it is judged on both sides. Where a URL is signed, it is the hub's public URL with the path and query of the request, so ` + "`HOOKGRAPH_PUBLIC_URL`" + ` has to be what the provider calls.

## Verification

| ` + "`provider`" + ` | For | Verified by | Handshakes | Checked against |
| --- | --- | --- | --- | --- |
`)
	for _, p := range table.Of(hub.SourceWebhook) {
		titles := make([]string, len(p.Handshakes))
		for i, handshake := range p.Handshakes {
			titles[i] = handshake.Title
		}
		fmt.Fprintf(&b, "| `%s` | [%s](%s) | %s | %s | %s |\n", p.Name, p.Title, p.DocsURL, method(p), strings.Join(titles, ", "), evidence(p.Name, versions))
	}
	b.WriteString(`
Every preset is tested with requests that are signed as the vendor's documentation says, and with hostile ones. Where "Checked against" names a package of npm, that SDK has made or judged such requests beside a running hub (test/vendors): whatever it accepts, the hub accepts, and what it refuses, the hub refuses. A published example is a request that the vendor shows with its secret and signature.

Handshakes are answered and never become events. Certificates and keys that a provider publishes are fetched from its own hosts alone, over https and through the guard of all outgoing calls, and kept for a day; what is pinned replaces that.

## What an event is called

The source's own expressions override these. "Body" paths have their names separated by dots.

| ` + "`provider`" + ` | Event type | Dedupe key | Ordering key | Occurred at |
| --- | --- | --- | --- | --- |
`)
	for _, p := range table.Of(hub.SourceWebhook) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.Name, rule(p.Type), rule(p.DedupeKey), rule(p.OrderingKey), rule(p.OccurredAt.Rule))
	}
	b.WriteString(`
Where the dedupe key is empty, every request is an event: the provider repeats the same body when it means something new.

## What to set

| ` + "`provider`" + ` | ` + "`secrets`" + ` | ` + "`providerConfig`" + ` |
| --- | --- | --- |
`)
	for _, p := range table.Of(hub.SourceWebhook) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, p.SecretHint, settingsOf(p))
	}
	b.WriteString(`
## Fetched

What sources accept as ` + "`provider`" + ` from which the hub gets events itself: see [Polling](receiving.md#polling) and [Following a GraphQL subscription](receiving.md#following-a-graphql-subscription).

| ` + "`provider`" + ` | Kind | For | ` + "`providerConfig`" + ` | Event type | Dedupe key |
| --- | --- | --- | --- | --- | --- |
`)
	for _, p := range slices.Concat(table.Of(hub.SourcePoll), table.Of(hub.SourceGraphQL)) {
		fmt.Fprintf(&b, "| `%s` | %s | [%s](%s) | %s | %s | %s |\n", p.Name, p.Kind, p.Title, p.DocsURL, settingsOf(p), rule(p.Type), rule(p.DedupeKey))
	}
	return b.String()
}

// settingsOf lists the keys of a provider's configuration.
func settingsOf(p *Provider) string {
	keys := make([]string, len(p.Config))
	for i, key := range p.Config {
		required := ""
		if key.Required {
			required = " (required)"
		}
		keys[i] = "`" + key.Name + "`" + required + ": " + key.Meaning
	}
	return strings.Join(keys, "; ")
}

func method(p *Provider) string {
	if p.Verify != nil {
		return p.Method
	}
	s := p.Scheme
	var content strings.Builder
	for _, part := range s.Content {
		if part.kind == partLiteral {
			content.Write(part.text)
			continue
		}
		name := map[partKind]string{partBody: "body", partID: "id", partTimestamp: "timestamp", partMethod: "method", partURL: "URL"}[part.kind]
		if text := content.String(); text != "" && text[len(text)-1] >= 'A' {
			content.WriteString(" + ")
		}
		content.WriteString(name)
	}
	header := "`" + s.Header + "`"
	if s.Newer != "" {
		header += " or `" + s.Newer + "`"
	}
	if s.Unbranded != nil {
		header += " or `" + s.Unbranded.Header + "`"
	}
	text := fmt.Sprintf("%s: HMAC-%s over `%s`", header, s.Algorithm, content.String())
	if s.Timestamp != nil {
		text += ", ±" + strings.TrimSuffix(strings.Replace(s.Timestamp.Tolerance.Round(time.Second).String(), "m0s", " min", 1), "0s")
	}
	return text
}

func rule(r Rule) string {
	var texts []string
	for i, place := range r {
		switch {
		case place.Func != nil:
			texts = append(texts, place.Says)
		case place.Header != "":
			texts = append(texts, "`"+place.Header+"`")
		case place.Form != "":
			texts = append(texts, "`"+place.Form+"` of the form")
		default:
			text := "`" + place.Path + "`"
			if i == len(r)-1 || r[i+1].Path == "" { // said once for a row of paths
				text += " in the body"
			}
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", else ")
}

func TestRowsSayWhatTheirFunctionsFind(t *testing.T) {
	t.Parallel()
	for _, p := range Presets().Of(hub.SourceWebhook) {
		for _, r := range []Rule{p.Type, p.DedupeKey, p.OrderingKey, p.OccurredAt.Rule} {
			for _, place := range r {
				if (place.Func == nil) != (place.Says == "") {
					t.Errorf("%s: a function without words, or words without one: %+v", p.Name, place.Says)
				}
			}
		}
	}
}
