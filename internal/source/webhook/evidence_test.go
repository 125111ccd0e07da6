package webhook

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Evidence is what a preset's verification has been held against, besides the
// samples that are written after the vendor's documentation. Those every preset has.
type Evidence struct {
	// SDK is the package on npm that signs for or judges the preset in test/vendors,
	// which is the vendor's own or the one that its documentation names; "" where there
	// is none.
	SDK string
	// Published says where the vendor shows a request with its signature and secret,
	// which TestPublishedVectorsOfVendors verifies; "" where it shows none.
	Published string
	// Derived is why there is neither.
	Derived string
}

const (
	noSDK   = "no SDK judges it, and no page shows a secret with its signature"
	equalTo = "the vendor signs nothing: a secret is compared"
)

// EvidenceOf has a row for each preset.
var EvidenceOf = map[string]Evidence{
	"adyen":                 {SDK: "@adyen/api-library", Published: "docs.adyen.com and the tests of its libraries"},
	"adyen-platforms":       {SDK: "@adyen/api-library"},
	"aws-sns":               {SDK: "sns-validator"},
	"azure-eventgrid":       {Derived: equalTo},
	"bitbucket":             {Published: "support.atlassian.com, Manage webhooks"},
	"calendly":              {Derived: noSDK},
	"cloudevents":           {SDK: "cloudevents"},
	"coinbase-commerce":     {SDK: "coinbase-commerce-node"},
	"discord":               {SDK: "discord-interactions"},
	"docusign":              {Derived: noSDK},
	"dropbox":               {Derived: noSDK},
	"github":                {SDK: "@octokit/webhooks-methods", Published: "docs.github.com, Validating webhook deliveries"},
	"gitlab":                {Derived: equalTo},
	"gitlab-signing-token":  {SDK: "standardwebhooks"},
	"gocardless":            {SDK: "gocardless-nodejs"},
	"hubspot":               {SDK: "@hubspot/api-client"},
	"intercom":              {Derived: noSDK},
	"lemon-squeezy":         {Derived: noSDK},
	"line":                  {SDK: "@line/bot-sdk"},
	"linear":                {SDK: "@linear/sdk"},
	"mailgun":               {Derived: noSDK},
	"meta":                  {Derived: noSDK},
	"mollie-nextgen":        {Derived: noSDK},
	"mux":                   {SDK: "@mux/mux-node"},
	"notion":                {SDK: "@notionhq/client"},
	"okta":                  {Derived: equalTo},
	"openai":                {SDK: "openai"},
	"paddle":                {SDK: "@paddle/paddle-node-sdk"},
	"paypal":                {Derived: noSDK},
	"plaid":                 {SDK: "jose"},
	"postmark":              {Derived: equalTo},
	"razorpay":              {SDK: "razorpay"},
	"resend":                {SDK: "resend"},
	"sendgrid":              {SDK: "@sendgrid/eventwebhook", Published: "the tests of its libraries"},
	"shopify":               {SDK: "@shopify/shopify-api"},
	"slack":                 {SDK: "@slack/bolt", Published: "docs.slack.dev, Verifying requests from Slack"},
	"square":                {SDK: "square", Published: "the tests of its libraries"},
	"standard-webhooks":     {SDK: "standardwebhooks", Published: "the tests of its libraries"},
	"standard-webhooks-v1a": {Derived: noSDK},
	"stripe":                {SDK: "stripe"},
	"svix":                  {SDK: "svix"},
	"telegram":              {Derived: equalTo},
	"trello":                {Derived: noSDK},
	"twilio":                {SDK: "twilio", Published: "twilio.com, Security"},
	"twilio-json":           {SDK: "twilio"},
	"typeform":              {Derived: noSDK},
	"workos":                {SDK: "@workos-inc/node"},
	"xero":                  {Derived: noSDK},
	"zendesk":               {Derived: noSDK},
	"zoom":                  {SDK: "@zoom/rivet"},
}

const vendorsFolder = "../../../test/vendors/"

// TestEveryPresetHasEvidence holds the table against the presets and against what
// test/vendors really runs.
func TestEveryPresetHasEvidence(t *testing.T) {
	t.Parallel()
	for _, p := range Presets().Of(hub.SourceWebhook) {
		e, found := EvidenceOf[p.Name]
		if !found || (e.Derived == "") == (e.SDK == "" && e.Published == "") {
			t.Errorf("%s has no evidence, or says why it has none and has some: %+v", p.Name, e)
		}
	}
	if got, want := len(EvidenceOf), len(Presets().Of(hub.SourceWebhook)); got != want {
		t.Errorf("%d rows of evidence for %d presets", got, want)
	}
	judged := map[string]string{}
	for _, name := range []string{"vendors.js", "vendors.test.js"} {
		text, err := os.ReadFile(vendorsFolder + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range vendorRow.FindAllStringSubmatch(string(text), -1) {
			judged[match[1]+match[3]] = match[2] + match[4]
		}
		for _, match := range vendorImport.FindAllStringSubmatch(string(text), -1) {
			if match[1] == "cloudevents" { // whose test is not a row
				judged["cloudevents"] = match[1]
			}
		}
	}
	for provider, e := range EvidenceOf {
		if judged[provider] != e.SDK {
			t.Errorf("%s: the table says the SDK %q, test/vendors has %q", provider, e.SDK, judged[provider])
		}
	}
	installed := vendorVersions(t)
	used := map[string]bool{}
	for _, e := range EvidenceOf {
		used[e.SDK] = true
	}
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		if !used[name] || !exactVersion.MatchString(installed[name]) {
			t.Errorf("%s %s is used by no preset, or not pinned", name, installed[name])
		}
	}
}

var (
	vendorRow    = regexp.MustCompile(`provider: '([a-z0-9-]+)',\s+sdk: '([^']+)'|standard\('([a-z0-9-]+)', '([^']+)'`)
	vendorImport = regexp.MustCompile(`from '([^.'][^']*)'`)
	exactVersion = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
)

// vendorVersions are the packages that test/vendors pins.
func vendorVersions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(vendorsFolder + "package.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Dependencies
}

// evidence writes what a preset is checked against, for the documentation.
func evidence(name string, versions map[string]string) string {
	e := EvidenceOf[name]
	var texts []string
	if e.SDK != "" {
		texts = append(texts, "`"+e.SDK+"` "+versions[e.SDK])
	}
	if e.Published != "" {
		texts = append(texts, "a published example")
	}
	if len(texts) == 0 {
		texts = append(texts, "its documentation")
	}
	return strings.Join(texts, ", ")
}
