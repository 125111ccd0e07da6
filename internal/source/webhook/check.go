package webhook

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Bounds of what a source's verification may be configured with.
const (
	MaxSecretBytes = 4 << 10
	maxNetworks    = 64
	maxTolerance   = 24 * time.Hour
	maxPrefixBytes = 64

	maxHeaderNameBytes = 128
)

// CheckSource says everything that is wrong with how a source verifies its
// requests: provider, secrets, scheme and networks. The fields' paths start with
// input. Its expressions are for those to check who compile them.
func (t *Table) CheckSource(src *hub.Source) hub.UserErrors {
	c := check{src: src}
	if src.Kind != hub.SourceWebhook {
		c.notWebhook(t)
		return c.errors
	}
	if src.Provider != "" {
		c.provider(t)
	} else if len(src.ProviderConfig) > 0 {
		c.add(hub.InputInvalid, "providerConfig needs a provider", "providerConfig")
	}
	if src.Verification != nil {
		c.verification(src.Verification)
	}
	if src.Provider == "" && src.Verification == nil {
		if !src.AllowUnverified {
			c.add(hub.InputRequired, "say how requests are verified: by a provider ("+strings.Join(t.names(hub.SourceWebhook), ", ")+
				") or by a verification of your own; or say allowUnverified: true to accept requests from anybody", "provider")
		}
		c.unusedSecrets("without a provider or a verification nothing uses secrets")
	}
	return c.errors
}

type check struct {
	src    *hub.Source
	errors hub.UserErrors
}

func (c *check) add(code hub.InputCode, message string, field ...string) {
	c.errors.Add(code, message, append([]string{"input"}, field...)...)
}

func (c *check) notWebhook(t *Table) {
	const message = "only sources of kind WEBHOOK have one"
	switch none := "sources of kind " + string(c.src.Kind) + " have none"; {
	case len(t.Of(c.src.Kind)) == 0:
		if c.src.Provider != "" {
			c.add(hub.InputInvalid, none, "provider")
		}
		if len(c.src.ProviderConfig) > 0 {
			c.add(hub.InputInvalid, none, "providerConfig")
		}
	case c.src.Provider != "":
		c.provided(t)
	case len(c.src.ProviderConfig) > 0:
		c.add(hub.InputInvalid, "providerConfig needs a provider", "providerConfig")
	}
	if c.src.Verification != nil {
		c.add(hub.InputInvalid, message, "verification")
	}
	c.unusedSecrets("only sources of kind WEBHOOK have secrets")
}

// provided checks the provider of a source and what that needs, and returns it.
func (c *check) provided(t *Table) *Provider {
	p, found := t.Lookup(c.src.Provider)
	if !found || p.kind() != c.src.Kind {
		c.add(hub.InputInvalid, fmt.Sprintf("there is no provider %.64q for a source of kind %s; there are %s",
			c.src.Provider, c.src.Kind, strings.Join(t.names(c.src.Kind), ", ")), "provider")
		return nil
	}
	for _, key := range p.Config {
		if _, given := c.src.ProviderConfig[key.Name]; key.Required && !given {
			c.add(hub.InputRequired, p.Title+" needs it: "+key.Meaning, "providerConfig", key.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.src.ProviderConfig)) {
		i := slices.IndexFunc(p.Config, func(k ConfigKey) bool { return k.Name == name })
		if i < 0 {
			c.add(hub.InputInvalid, p.Title+" has no such setting", "providerConfig", name)
			continue
		}
		check := p.Config[i].Check
		if check == nil {
			check = checkSetting
		}
		if problem := check(c.src.ProviderConfig[name]); problem != "" {
			c.add(hub.InputInvalid, problem, "providerConfig", name)
		}
	}
	return p
}

func (c *check) provider(t *Table) {
	p := c.provided(t)
	if p == nil {
		return
	}
	if len(c.src.Secrets) == 0 && !p.SecretsOptional && !c.src.AllowUnverified {
		c.add(hub.InputRequired, p.Title+" signs with a secret: "+p.SecretHint, "secrets")
	}
	c.secrets(p.key())
	if p.Fetches != "" && t.remote == nil && c.src.ProviderConfig[p.Fetches] == nil && !c.src.AllowUnverified {
		c.add(hub.InputRequired, "this hub is not set up to fetch anything from "+p.Title+"; pin what it verifies with here", "providerConfig", p.Fetches)
		return
	}
	if p.Check != nil && !c.src.AllowUnverified {
		if field, problem := p.Check(c.src); problem != "" {
			c.add(hub.InputRequired, problem, field...)
		}
	}
}

// maxSettingBytes bounds a text of providerConfig; a chain of certificates is the longest.
const maxSettingBytes = 16 << 10

// checkSetting is the check of a setting that is any text.
func checkSetting(value any) string {
	text, ok := value.(string)
	switch {
	case !ok || text == "":
		return "this setting is a text and not empty"
	case len(text) > maxSettingBytes:
		return fmt.Sprintf("this setting is at most %d bytes long", maxSettingBytes)
	case strings.TrimSpace(text) != text:
		return "this setting has blanks around it; usually they were copied by mistake"
	}
	return ""
}

// checkEach makes the check of a setting that is one text or a list of them.
func checkEach(check func(text string) string) func(any) string {
	return func(value any) string {
		texts := []any{value}
		if list, isList := value.([]any); isList {
			texts = list
		}
		if len(texts) == 0 || len(texts) > hub.MaxSecrets {
			return fmt.Sprintf("this setting is a text, or a list of 1 to %d", hub.MaxSecrets)
		}
		for _, item := range texts {
			text, ok := item.(string)
			if !ok || text == "" || len(text) > maxSettingBytes {
				return fmt.Sprintf("this setting is a text, or a list of them, each at most %d bytes long", maxSettingBytes)
			}
			if problem := check(text); problem != "" {
				return problem
			}
		}
		return ""
	}
}

func (c *check) verification(v *hub.Verification) {
	schemes := 0
	for _, given := range []bool{v.HMAC != nil, v.APIKey != nil, v.Basic != nil, v.JWT != nil} {
		if given {
			schemes++
		}
	}
	switch {
	case schemes > 1:
		c.add(hub.InputInvalid, "give one of hmac, apiKey, basic and jwt", "verification")
	case schemes == 1 && c.src.Provider != "":
		c.add(hub.InputInvalid, "the provider has its own way; give a provider or hmac, apiKey, basic or jwt, not both", "verification")
	case schemes == 0 && len(v.AllowNetworks) == 0:
		c.add(hub.InputRequired, "give one of hmac, apiKey, basic and jwt, or allowNetworks", "verification")
	}
	if v.HMAC != nil {
		c.hmac(v.HMAC)
	}
	if v.APIKey != nil {
		c.header(v.APIKey.Header, "verification", "apiKey", "header")
	}
	if v.Basic != nil && (strings.Contains(v.Basic.Username, ":") || checkText(v.Basic.Username, MaxKeyBytes) != "") {
		c.add(hub.InputInvalid, "a user name of HTTP Basic has no colon and no control characters and is at most "+
			strconv.Itoa(MaxKeyBytes)+" bytes long", "verification", "basic", "username")
	}
	if v.JWT != nil {
		c.jwt(v.JWT)
	}
	c.networks(v.AllowNetworks)
	if c.src.Provider != "" {
		return
	}
	if schemes == 0 {
		c.unusedSecrets("networks alone use no secrets")
		return
	}
	if v.JWT != nil && v.JWT.JWKSURL != "" {
		c.unusedSecrets("a key set (jwksUrl) uses no secrets")
		return
	}
	if len(c.src.Secrets) == 0 {
		c.add(hub.InputRequired, "the verification needs at least one secret to compare with", "secrets")
	}
	c.secrets(textKey)
}

func (c *check) hmac(h *hub.HMACVerification) {
	c.header(h.Header, "verification", "hmac", "header")
	if !signature.Algorithm(h.Algorithm).Valid() {
		c.add(hub.InputInvalid, "the algorithm is SHA1, SHA256 or SHA512", "verification", "hmac", "algorithm")
	}
	if !signature.Encoding(h.Encoding).Valid() {
		c.add(hub.InputInvalid, "the encoding is HEX or BASE64", "verification", "hmac", "encoding")
	}
	if problem := checkText(h.Prefix, maxPrefixBytes); problem != "" {
		c.add(hub.InputInvalid, "the prefix "+problem, "verification", "hmac", "prefix")
	} else if strings.TrimLeft(h.Prefix, " \t") != h.Prefix {
		c.add(hub.InputInvalid, "the prefix starts with a blank, and no header's value does", "verification", "hmac", "prefix")
	}
	if h.Tolerance < 0 || h.Tolerance > maxTolerance {
		c.add(hub.InputInvalid, "the tolerance is at most a day", "verification", "hmac", "tolerance")
	}
}

func (c *check) header(name string, field ...string) {
	switch {
	case name == "":
		c.add(hub.InputRequired, "name the header", field...)
	case len(name) > maxHeaderNameBytes || !hub.IsHeaderName(name):
		c.add(hub.InputInvalid, fmt.Sprintf("%.64q is not the name of a header", name), field...)
	case strings.EqualFold(name, "Host"):
		c.add(hub.InputInvalid, "the header Host says where a request goes, not who sends it", field...)
	}
}

func (c *check) networks(networks []string) {
	if len(networks) > maxNetworks {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d networks can be listed", maxNetworks), "verification", "allowNetworks")
		return
	}
	for i, network := range networks {
		field := []string{"verification", "allowNetworks", strconv.Itoa(i)}
		prefix, err := parseNetwork(network)
		switch {
		case err != nil:
			c.add(hub.InputInvalid, fmt.Sprintf("%.64q is neither a network such as 203.0.113.0/24 nor an address", network), field...)
		case prefix.Addr().Is4In6():
			c.add(hub.InputInvalid, "write an IPv4 network as IPv4", field...)
		}
	}
}

func (c *check) secrets(key func(hub.Secret) ([]byte, error)) {
	if len(c.src.Secrets) > hub.MaxSecrets {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("a source has at most %d secrets", hub.MaxSecrets), "secrets")
	}
	for i, secret := range c.src.Secrets {
		field := []string{"secrets", strconv.Itoa(i)}
		text := secret.Reveal()
		if strings.TrimSpace(text) != text {
			c.add(hub.InputInvalid, "the secret has blanks around it; usually they were copied by mistake", field...)
			continue
		}
		if len(text) > MaxSecretBytes {
			c.add(hub.InputLimitExceeded, fmt.Sprintf("a secret is at most %d bytes long", MaxSecretBytes), field...)
			continue
		}
		if _, err := key(secret); err != nil {
			c.add(hub.InputInvalid, err.Error(), field...)
		}
	}
}

func (c *check) unusedSecrets(message string) {
	if len(c.src.Secrets) > 0 {
		c.add(hub.InputInvalid, message, "secrets")
	}
}
