package registry

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// EndpointAuthInput is a credential; exactly one of its fields is given.
type EndpointAuthInput struct {
	APIKey *APIKeyAuthInput
	Basic  *BasicAuthInput
	Bearer *hub.Secret
	OAuth2 *OAuth2Input
	JWT    *JWTAuthInput
	MTLS   *MTLSInput
}

// APIKeyAuthInput is a fixed value in a header.
type APIKeyAuthInput struct {
	Header Optional[string]
	Value  hub.Secret
}

// BasicAuthInput is a user name and a password of HTTP Basic.
type BasicAuthInput struct {
	Username      string
	Password      hub.Secret
	CACertificate string
}

// OAuth2Input is a client that gets access tokens by its own credentials.
type OAuth2Input struct {
	TokenURL     string
	ClientID     string
	ClientSecret hub.Secret
	Scopes       []string
	Audience     string
}

// JWTAuthInput is a key that signs a token for each request.
type JWTAuthInput struct {
	Algorithm  string
	PrivateKey hub.Secret
	KeyID      string
	Claims     json.RawMessage
	Lifetime   Optional[time.Duration]
}

// MTLSInput is a client certificate, in PEM.
type MTLSInput struct {
	Certificate   string
	PrivateKey    hub.Secret
	CACertificate string
}

// auths returns the credentials that were given.
func (in *EndpointAuthInput) auths() []*hub.EndpointAuth {
	var list []*hub.EndpointAuth
	if k := in.APIKey; k != nil {
		list = append(list, &hub.EndpointAuth{Kind: hub.AuthAPIKey, Header: k.Header.or(credential.DefaultHeader), Secret: k.Value})
	}
	if b := in.Basic; b != nil {
		list = append(list, &hub.EndpointAuth{Kind: hub.AuthBasic, Username: b.Username, Secret: b.Password, CACertificate: b.CACertificate})
	}
	if in.Bearer != nil {
		list = append(list, &hub.EndpointAuth{Kind: hub.AuthBearer, Secret: *in.Bearer})
	}
	if o := in.OAuth2; o != nil {
		list = append(list, &hub.EndpointAuth{
			Kind: hub.AuthOAuth2, TokenURL: o.TokenURL, ClientID: o.ClientID, Secret: o.ClientSecret,
			Scopes: slices.Clone(o.Scopes), Audience: o.Audience,
		})
	}
	if j := in.JWT; j != nil {
		list = append(list, &hub.EndpointAuth{
			Kind: hub.AuthJWT, Algorithm: j.Algorithm, Secret: j.PrivateKey, KeyID: j.KeyID, Claims: j.Claims,
			Lifetime: j.Lifetime.or(credential.DefaultLifetime),
		})
	}
	if m := in.MTLS; m != nil {
		list = append(list, &hub.EndpointAuth{
			Kind: hub.AuthMTLS, Certificate: m.Certificate, Secret: m.PrivateKey, CACertificate: m.CACertificate,
		})
	}
	return list
}

// auth makes a credential of an input and notes what is wrong with it, under the path
// of the input; nil where it is none.
func (r *Registry) auth(in EndpointAuthInput, p *problems, path ...string) *hub.EndpointAuth {
	list := in.auths()
	for _, a := range list {
		for _, problem := range credential.Check(a, r.now(), r.checkOutbound) {
			p.add(problem.Code, problem.Message, slices.Concat(path, problem.Field)...)
		}
	}
	switch len(list) {
	case 0:
		p.add(hub.InputRequired, "give one of apiKey, basic, bearer, oauth2, jwt and mtls, or null for none", path...)
	case 1:
		return list[0]
	default:
		p.add(hub.InputConflict, "give only one of apiKey, basic, bearer, oauth2, jwt and mtls", path...)
	}
	return nil
}

// authHeader is the header that carries a credential, "" where none does.
func authHeader(a *hub.EndpointAuth) string {
	switch {
	case a == nil || a.Kind == hub.AuthMTLS:
		return ""
	case a.Kind == hub.AuthAPIKey:
		return a.Header
	}
	return "Authorization"
}
