package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

const (
	hubspotTolerance = 5 * time.Minute
	mailgunTolerance = 5 * time.Minute
)

// secretKeys are the source's secrets as keys, in their order.
func secretKeys(c *Case) [][]byte {
	read := c.Provider.key()
	keys := make([][]byte, 0, len(c.Source.Secrets))
	for _, secret := range c.Source.Secrets {
		if key, err := read(secret); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// checkAny checks a signature against several spellings of the content, of which
// one has to be right. Covers says of what in a request they are made, besides what is
// known already.
func checkAny(
	c *Case, header string, algorithm signature.Algorithm, parsed signature.Parsed, covers covered, spellings func(*Request) [][]byte,
) Verdict {
	right := func(keys [][]byte, r *Request) bool {
		matched := false
		for _, content := range spellings(r) {
			if algorithm.Verify(keys, parsed.Signatures, content) {
				matched = true
			}
		}
		return matched
	}
	keys := secretKeys(c)
	if right(keys, c.Request) {
		return Verdict{}
	}
	return explained(mismatch(c.Provider.Title, c.Provider.SecretHint, header, algorithm, parsed, c.Source, c.Request), c.Request, c.Source, covers,
		func(secrets [][]byte, r *Request) bool {
			if secrets == nil {
				secrets = keys
			}
			return right(secrets, r)
		})
}

// fixed are spellings of what is known already.
func fixed(contents ...[]byte) func(*Request) [][]byte {
	return func(*Request) [][]byte { return contents }
}

// plainHeader reads a header that is one signature and nothing else.
func plainHeader(r *Request, name string, encoding signature.Encoding) (signature.Parsed, Verdict) {
	text, verdict := signatureHeader(r, name)
	if !verdict.Accepted() {
		return signature.Parsed{}, verdict
	}
	parsed, err := signature.Plain("", encoding).Parse(text)
	if err != nil {
		return signature.Parsed{}, malformed(name, text, err)
	}
	return parsed, Verdict{}
}

const twilioHeader = "X-Twilio-Signature"

// verifyTwilioForm checks the URL with the fields of the form in the order of their
// names. The body is read as a form whatever it says it is, so that nothing in it
// stays unsigned.
func verifyTwilioForm(_ context.Context, c *Case) Verdict {
	parsed, verdict := plainHeader(c.Request, twilioHeader, signature.Base64)
	if !verdict.Accepted() {
		return verdict
	}
	form, err := url.ParseQuery(string(c.Request.Body))
	if err != nil {
		return refuse(hub.RejectedSignatureInvalid, "The body is no form, and Twilio signs the form's fields. For JSON there is the provider twilio-json.")
	}
	fields := twilioFields(form)
	return checkAny(c, twilioHeader, signature.SHA1, parsed, covered{url: true}, func(r *Request) [][]byte { return spellings(r, fields) })
}

// twilioFields writes a form as Twilio signs it: each name with each of its
// different values.
func twilioFields(form url.Values) []byte {
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		values := slices.Clone(form[name])
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	return b.Bytes()
}

// verifyTwilioJSON checks the URL, which holds the hash of the body.
func verifyTwilioJSON(_ context.Context, c *Case) Verdict {
	parsed, verdict := plainHeader(c.Request, twilioHeader, signature.Base64)
	if !verdict.Accepted() {
		return verdict
	}
	hashes := queryOf(c.Request)["bodySHA256"]
	if len(hashes) != 1 {
		return refuse(hub.RejectedSignatureMissing, fmt.Sprintf(
			"The URL has %d parameters bodySHA256; Twilio puts the hash of the body into one. Forms come without: for them there is the provider twilio.", len(hashes)))
	}
	urls := func(r *Request) [][]byte { return spellings(r, nil) }
	if verdict := checkAny(c, twilioHeader, signature.SHA1, parsed, covered{url: true}, urls); !verdict.Accepted() {
		return verdict
	}
	given, err := signature.Hex.Decode(hashes[0])
	want := sha256.Sum256(c.Request.Body)
	if err != nil || subtle.ConstantTimeCompare(given, want[:]) != 1 {
		return refuse(hub.RejectedSignatureInvalid, "The signature is right, but bodySHA256 in the URL is not the hash of the body. Usually something on the way has changed the body.")
	}
	return Verdict{}
}

// spellings are the ways in which Twilio may have written a URL where it signed it:
// as it is, without its port or with the one that its scheme implies, and each of
// these with a query that is escaped further than it was sent. Its libraries try the
// same.
func spellings(r *Request, rest []byte) [][]byte {
	urls := []string{r.publicURL()}
	if other, ok := otherPort(urls[0]); ok {
		urls = append(urls, other)
	}
	var contents [][]byte
	for _, full := range urls {
		contents = append(contents, concat([]byte(full), rest))
		path, query, _ := strings.Cut(full, "?")
		for _, escaped := range []string{quoteEscapes.Replace(query), escapedQuery(query)} {
			if escaped != query {
				contents = append(contents, concat([]byte(path+"?"+escaped), rest))
			}
		}
	}
	return contents
}

// otherPort writes a URL without its port, or with the usual one where it has none.
func otherPort(full string) (string, bool) {
	scheme, after, found := strings.Cut(full, "://")
	if !found {
		return "", false
	}
	host, target := after, ""
	if i := strings.IndexAny(after, "/?"); i >= 0 {
		host, target = after[:i], after[i:]
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return scheme + "://" + host[:i] + target, true
	}
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return scheme + "://" + host + port + target, true
}

// quoteEscapes are the characters of a query that one program sends as they are and
// another one escapes.
var quoteEscapes = strings.NewReplacer(`'`, "%27", `"`, "%22", "<", "%3C", ">", "%3E", " ", "%20")

// escapedQuery writes a query with everything escaped that can be, the values of a
// repeated name together; "" and what is no query stay as they are.
func escapedQuery(query string) string {
	if query == "" || strings.Count(query, "&") >= maxParameters {
		return query
	}
	var names []string
	values := map[string][]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		text, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(text)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			return query
		}
		if _, found := values[name]; !found {
			names = append(names, name)
		}
		values[name] = append(values[name], value)
	}
	var pairs []string
	for _, name := range names {
		for _, value := range values[name] {
			pairs = append(pairs, escapeComponent(name)+"="+escapeComponent(value))
		}
	}
	return strings.Join(pairs, "&")
}

// escapeComponent escapes as JavaScript does, which leaves more characters than Go.
func escapeComponent(text string) string { return componentMarks.Replace(url.QueryEscape(text)) }

var componentMarks = strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")

// verifyHubSpot checks version 3: method, URL, body and time.
func verifyHubSpot(_ context.Context, c *Case) Verdict {
	const header = "X-HubSpot-Signature-v3"
	parsed, verdict := plainHeader(c.Request, header, signature.Base64)
	if !verdict.Accepted() {
		return verdict
	}
	stamp, verdict := signedHeader(c.Request, "X-HubSpot-Request-Timestamp", "the time of sending, which is signed with the body")
	if !verdict.Accepted() {
		return verdict
	}
	spellings := func(r *Request) [][]byte {
		full := r.publicURL()
		contents := [][]byte{concat([]byte(r.Method+full), r.Body, []byte(stamp))}
		if decoded := hubspotURL.Replace(full); decoded != full {
			contents = append(contents, concat([]byte(r.Method+decoded), r.Body, []byte(stamp)))
		}
		return contents
	}
	if verdict := checkAny(c, header, signature.SHA256, parsed, covered{body: true, url: true}, spellings); !verdict.Accepted() {
		return verdict
	}
	return checkStamp(c.Request, stamp, signature.UnixMillis, hubspotTolerance)
}

// hubspotURL decodes the characters that HubSpot's documentation lists, and no others.
var hubspotURL = newHubspotURL()

func newHubspotURL() *strings.Replacer {
	var pairs []string
	for _, c := range []byte(`:/?@!$'()*,;`) {
		code := fmt.Sprintf("%%%02X", c)
		pairs = append(pairs, code, string(c))
		if lower := strings.ToLower(code); lower != code {
			pairs = append(pairs, lower, string(c))
		}
	}
	return strings.NewReplacer(pairs...)
}

// verifyMailgun checks time and token, which stand in the body and are all that is
// signed. So that nobody can put another body to them, a token counts once.
func verifyMailgun(_ context.Context, c *Case) Verdict {
	const where = "signature.signature of the body"
	document := gjson.ParseBytes(c.Request.json(""))
	stamp, token, text := textOf(document.Get("signature.timestamp")), textOf(document.Get("signature.token")), textOf(document.Get("signature.signature"))
	if stamp == "" || token == "" || text == "" {
		return refuse(hub.RejectedSignatureMissing, "The body has no signature with timestamp, token and signature. Usually the request comes from somebody else, or is a form of Mailgun's former webhooks.")
	}
	if len(stamp)+len(token)+len(text) > signature.MaxHeaderBytes {
		return refuse(hub.RejectedSignatureInvalid, "The body's signature is longer than it can be.")
	}
	parsed, err := signature.Plain("", signature.Hex).Parse(text)
	if err != nil {
		return malformed(where, text, err)
	}
	if verdict := checkAny(c, where, signature.SHA256, parsed, covered{}, fixed([]byte(stamp+token))); !verdict.Accepted() {
		return verdict
	}
	if verdict := checkStamp(c.Request, stamp, signature.UnixSeconds, mailgunTolerance); !verdict.Accepted() {
		return verdict
	}
	if !uniqueNames(document) {
		return namedTwice()
	}
	if c.tokens != nil && !c.tokens.claim(c.Source.ID, token, c.Request.Body) {
		return refuse(hub.RejectedSignatureInvalid, "The signature is right, but its token has come with another body before. Somebody has put a body of his own to a signature of Mailgun's.")
	}
	return Verdict{}
}

// maxAdyenItems bounds a batch; Adyen sends one item in nearly all cases.
const maxAdyenItems = 128

// verifyAdyen checks each item of a notification, whose signature covers some of
// its members.
func verifyAdyen(_ context.Context, c *Case) Verdict {
	document := gjson.ParseBytes(c.Request.json(""))
	list := document.Get("notificationItems")
	if !document.IsObject() || !list.IsArray() || !list.Get("0").Exists() {
		return refuse(hub.RejectedSignatureMissing, "The body has no notificationItems, and Adyen signs those. Usually the request comes from somebody else, or from Adyen for Platforms, which is another provider.")
	}
	var verdict Verdict
	n := 0
	list.ForEach(func(_, item gjson.Result) bool {
		if n++; n > maxAdyenItems {
			verdict = refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The notification has more than %d items.", maxAdyenItems))
		} else {
			verdict = verifyAdyenItem(c, n, item.Get("NotificationRequestItem"))
		}
		return verdict.Accepted()
	})
	if verdict.Accepted() && !uniqueNames(document) {
		return namedTwice()
	}
	return verdict
}

// verifyAdyenItem checks the n-th item of a notification.
func verifyAdyenItem(c *Case, n int, item gjson.Result) Verdict {
	where := "additionalData.hmacSignature of item " + strconv.Itoa(n)
	text := item.Get("additionalData.hmacSignature")
	if text.Type != gjson.String || text.Str == "" {
		return refuse(hub.RejectedSignatureMissing, fmt.Sprintf(
			"Item %d of the notification has no additionalData.hmacSignature. Usually no HMAC key has been generated for the webhook at Adyen.", n))
	}
	parsed, err := signature.Plain("", signature.Base64).Parse(text.Str)
	if err != nil {
		return malformed(where, text.Str, err)
	}
	return checkAny(c, where, signature.SHA256, parsed, covered{}, fixed(adyenContents(item)...))
}

var adyenFields = [...]string{"pspReference", "originalReference", "merchantAccountCode", "merchantReference", "amount.value", "amount.currency", "eventCode", "success"}

// adyenContents writes what is signed of an item: its members between colons. The
// second form has the characters escaped that Adyen's libraries used to escape.
func adyenContents(item gjson.Result) [][]byte {
	plain, escaped := make([]string, len(adyenFields)), make([]string, len(adyenFields))
	for i, name := range adyenFields {
		plain[i] = literal(item.Get(name))
		escaped[i] = adyenEscapes.Replace(plain[i])
	}
	contents := [][]byte{[]byte(strings.Join(plain, ":"))}
	if second := strings.Join(escaped, ":"); second != string(contents[0]) {
		contents = append(contents, []byte(second))
	}
	return contents
}

var adyenEscapes = strings.NewReplacer(`\`, `\\`, `:`, `\:`)

// verifyDocuSign checks the body against each of the numbered headers, one for each
// key of the account.
func verifyDocuSign(_ context.Context, c *Case) Verdict {
	const prefix = "X-Docusign-Signature-"
	var all signature.Parsed
	last := ""
	for i := 1; i <= signature.MaxSignatures; i++ {
		name := prefix + strconv.Itoa(i)
		if len(c.Request.Header.Values(name)) == 0 {
			continue
		}
		parsed, verdict := plainHeader(c.Request, name, signature.Base64)
		if !verdict.Accepted() {
			return verdict
		}
		all.Signatures, last = append(all.Signatures, parsed.Signatures...), name
	}
	if last == "" {
		_, verdict := signatureHeader(c.Request, prefix+"1")
		return verdict
	}
	return checkAny(c, last, signature.SHA256, all, covered{body: true}, func(r *Request) [][]byte { return [][]byte{r.Body} })
}
