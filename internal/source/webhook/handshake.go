package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxChallengeBytes bounds what is sent back to whoever asks.
const maxChallengeBytes = 4 << 10

const (
	jsonContent = "application/json"
	textContent = "text/plain; charset=utf-8"
)

// noSniff keeps browsers from taking an echoed text for a page.
func noSniff() http.Header { return http.Header{"X-Content-Type-Options": {"nosniff"}} }

func echo(text string) Answer {
	return Answer{Status: http.StatusOK, ContentType: textContent, Header: noSniff(), Body: []byte(text)}
}

func jsonAnswer(value any) Answer {
	body, err := json.Marshal(value)
	if err != nil { // not of maps of texts
		return Answer{Status: http.StatusOK}
	}
	return Answer{Status: http.StatusOK, ContentType: jsonContent, Header: noSniff(), Body: body}
}

func badHandshake(detail string) Answer {
	return Answer{Refusal: refuse(hub.RejectedCredentialsInvalid, detail)}
}

// badChallenge refuses a handshake that holds nothing to answer. It must not become
// an event, and taking it for answered would hide that the vendor's check has failed.
func badChallenge(title, field string) Answer {
	return Answer{Refusal: refuse(hub.RejectedBodyInvalid, fmt.Sprintf(
		"%s asks for its challenge, but %s is no text of 1 to %d bytes that could be sent back. Usually the request was written by hand.", title, field, maxChallengeBytes))}
}

// usable reports whether a challenge may be sent back.
func usable(challenge string) bool { return challenge != "" && len(challenge) <= maxChallengeBytes }

// slackURL answers Slack's question with the challenge in it.
var slackURL = Handshake{Title: "URL verification (POST)", Signed: true, Answer: func(_ context.Context, c *Case) (Answer, bool) {
	if c.Request.lookupString(c.Provider.FormField, "type") != "url_verification" {
		return Answer{}, false
	}
	challenge := c.Request.lookupString(c.Provider.FormField, "challenge")
	if !usable(challenge) {
		return badChallenge(c.Provider.Title, "challenge"), true
	}
	return echo(challenge), true
}}

// slackCertificate answers the request by which Slack now and then looks at the
// certificate of a command's URL. It carries no command.
var slackCertificate = Handshake{Title: "SSL check (POST)", Signed: true, Answer: func(_ context.Context, c *Case) (Answer, bool) {
	form := c.Request.form()
	return Answer{Status: http.StatusOK}, form.Get("ssl_check") == "1" && form.Get("command") == ""
}}

// zoomURL answers with the challenge and its HMAC. It has to be signed: otherwise
// anybody could have any text signed here, a request's content among them.
var zoomURL = Handshake{Title: "URL validation (POST)", Signed: true, Answer: func(_ context.Context, c *Case) (Answer, bool) {
	if c.Request.lookupString("", "event") != "endpoint.url_validation" || len(c.Source.Secrets) == 0 {
		return Answer{}, false
	}
	plain := c.Request.lookupString("", "payload.plainToken")
	if !usable(plain) {
		return badChallenge(c.Provider.Title, "payload.plainToken"), true
	}
	mac := hmac.New(sha256.New, []byte(zoomSecret(c).Reveal()))
	_, _ = mac.Write([]byte(plain))
	return jsonAnswer(map[string]string{"plainToken": plain, "encryptedToken": hex.EncodeToString(mac.Sum(nil))}), true
}}

// zoomSecret is the secret that the request at hand is signed with: during a
// rotation the vendor expects the answer under the same one.
func zoomSecret(c *Case) hub.Secret {
	for _, secret := range c.Source.Secrets {
		only := *c.Source
		only.Secrets = []hub.Secret{secret}
		if c.Provider.Scheme.verify(c.Provider, &only, c.Request).Accepted() {
			return secret
		}
	}
	return c.Source.Secrets[0]
}

// discordPing answers the ping of interactions (type 1 without an event) and that
// of webhook events (type 0).
var discordPing = Handshake{Title: "PING (POST)", Signed: true, Answer: func(_ context.Context, c *Case) (Answer, bool) {
	switch document := c.Request.json(""); {
	case document == nil:
	case gjson.GetBytes(document, "type").Raw == "0":
		return Answer{Status: http.StatusNoContent, ContentType: jsonContent}, true // Discord wants the type, though nothing is of it
	case gjson.GetBytes(document, "type").Raw == "1" && !gjson.GetBytes(document, "event").Exists():
		return jsonAnswer(map[string]int{"type": 1}), true
	}
	return Answer{}, false
}}

// metaChallenge echoes the challenge to whoever knows the verify token.
var metaChallenge = Handshake{Title: "hub.challenge (GET)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	query := queryOf(c.Request)
	if !isGet(c.Request) || query.Get("hub.mode") != "subscribe" {
		return Answer{}, false
	}
	given, challenge := query["hub.verify_token"], query.Get("hub.challenge")
	matched := 0
	for _, wanted := range settings(c.Source, "verifyToken") {
		if len(given) == 1 {
			matched |= sameText(given[0], wanted)
		}
	}
	if matched == 0 || !usable(challenge) {
		return badHandshake("Meta asked for a verification whose hub.verify_token is not the source's verifyToken. Usually the token in the app's settings is another one, or the request comes from somebody else."), true
	}
	return echo(challenge), true
}}

// dropboxChallenge echoes the challenge to whoever asks.
var dropboxChallenge = Handshake{Title: "challenge (GET)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	challenge := queryOf(c.Request).Get("challenge")
	if !isGet(c.Request) || !usable(challenge) {
		return Answer{}, false
	}
	return echo(challenge), true
}}

// headOK tells that the URL is there.
var headOK = Handshake{Title: "HEAD", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	return Answer{Status: http.StatusOK}, isMethod(c.Request, http.MethodHead)
}}

// oktaChallenge sends the challenge of a header back.
var oktaChallenge = Handshake{Title: "one-time verification (GET)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	values := c.Request.Header.Values("X-Okta-Verification-Challenge")
	if !isGet(c.Request) || len(values) != 1 || !usable(values[0]) {
		return Answer{}, false
	}
	return jsonAnswer(map[string]string{"verification": values[0]}), true
}}

// allowOrigin makes the answer to the abuse protection of CloudEvents, for origins
// that the function lets through.
func allowOrigin(allowed func(src *hub.Source, origin string) bool) Handshake {
	return Handshake{Title: "abuse protection (OPTIONS)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
		origins := c.Request.Header.Values("WebHook-Request-Origin")
		if !isMethod(c.Request, http.MethodOptions) || len(origins) == 0 {
			return Answer{}, false
		}
		if len(origins) > 1 || !usable(origins[0]) || !allowed(c.Source, origins[0]) {
			return badHandshake("The sender asked to be allowed by the header WebHook-Request-Origin, and is none of the source's allowed origins."), true
		}
		return Answer{Status: http.StatusOK, Header: http.Header{
			"Allow": {http.MethodPost}, "Webhook-Allowed-Origin": {origins[0]}, "Webhook-Allowed-Rate": {"*"},
		}}, true
	}}
}

// allowedOrigin compares an origin with the configured ones, whose case does not
// count; without any, who asks is allowed, since events need a credential all the same.
func allowedOrigin(src *hub.Source, origin string) bool {
	if src.ProviderConfig["allowedOrigins"] == nil {
		return true
	}
	return slices.ContainsFunc(allowedOrigins(src), func(allowed string) bool {
		return allowed == "*" || strings.EqualFold(allowed, origin)
	})
}

func allowedOrigins(src *hub.Source) []string {
	var origins []string
	for _, text := range settings(src, "allowedOrigins") {
		for origin := range strings.SplitSeq(text, ",") {
			origins = append(origins, strings.TrimSpace(origin))
		}
	}
	return origins
}

// gridValidation answers the event by which Event Grid finds out whether the
// receiver wants its events.
var gridValidation = Handshake{Title: "subscription validation (POST)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	document := c.Request.json("")
	if document == nil {
		return Answer{}, false
	}
	event := gjson.ParseBytes(document)
	if event.IsArray() {
		event = event.Get("0")
	}
	code := event.Get("data.validationCode")
	if event.Get("eventType").Str != "Microsoft.EventGrid.SubscriptionValidationEvent" {
		return Answer{}, false
	}
	if code.Type != gjson.String || !usable(code.Str) {
		return badChallenge(c.Provider.Title, "data.validationCode"), true
	}
	return jsonAnswer(map[string]string{"validationResponse": code.Str}), true
}}

// noEvents answers requests that are signed and carry no events, by which some
// vendors find out whether signatures are checked.
func noEvents(title string) Handshake {
	return Handshake{Title: title, Signed: true, Answer: func(_ context.Context, c *Case) (Answer, bool) {
		document := c.Request.json("")
		if document == nil {
			return Answer{}, false
		}
		events := gjson.GetBytes(document, "events")
		return Answer{Status: http.StatusOK}, events.IsArray() && !events.Get("0").Exists()
	}}
}

// xeroIntent is the handshake by which Xero asks with right and wrong signatures. No
// answer to it may have a body.
func xeroIntent() Handshake {
	h := noEvents("intent to receive (POST)")
	h.Bare = true
	return h
}

// notionToken takes the token that Notion sends once, before anything is signed
// with it. As long as the source has no secret, the request is kept for the
// operator, who needs the token on both sides.
var notionToken = Handshake{Title: "verification token (POST)", Answer: func(_ context.Context, c *Case) (Answer, bool) {
	document := c.Request.json("")
	if document == nil || c.Request.lookupString("", "verification_token") == "" ||
		gjson.GetBytes(document, "type").Exists() || len(c.Request.Header.Values("X-Notion-Signature")) > 0 && len(c.Source.Secrets) > 0 {
		return Answer{}, false
	}
	answer := Answer{Status: http.StatusOK}
	if len(c.Source.Secrets) == 0 {
		answer.Note = refuse(hub.RejectedSignatureMissing,
			"Notion has sent its verification token, which is verification_token in the body. Paste it into the integration's webhook settings and save it as the source's secret; events are accepted from then on.")
	}
	return answer, true
}}
