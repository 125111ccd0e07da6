// Package config declares every option of Hookgraph once: its flag, environment
// variable, default, meaning and bounds. Help texts are derived from these
// declarations.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// Environment says how careful the hub must be.
type Environment string

// The environments. Development opens introspection, suggestions and GraphiQL.
const (
	Development Environment = "development"
	Production  Environment = "production"
)

// Database is where everything is stored.
type Database struct {
	DatabaseURL string `name:"database-url" env:"HOOKGRAPH_DATABASE_URL" default:"${database_url}" placeholder:"URL" help:"Database: sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME."`
}

// Secrets is the key that seals secrets at rest.
type Secrets struct {
	SecretKey     string `env:"HOOKGRAPH_SECRET_KEY" placeholder:"KEY" help:"Key for secrets at rest: 32 random bytes in base64 or hex. Several, separated by commas, rotate: the first seals, all open. ${secret_default}"`
	SecretKeyFile string `env:"HOOKGRAPH_SECRET_KEY_FILE" placeholder:"PATH" help:"File that holds the key for secrets at rest, one key a line. Instead of --secret-key."`
}

// Logging is how the hub tells what it does.
type Logging struct {
	LogLevel  string `env:"HOOKGRAPH_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Least severe level that is logged: debug, info, warn or error."`
	LogFormat string `env:"HOOKGRAPH_LOG_FORMAT" enum:"auto,text,json" default:"auto" help:"Form of the log: text, json, or auto: text on a terminal, else json."`
}

// OIDC says which JSON Web Tokens are taken besides API keys, and what they mean.
type OIDC struct {
	OIDCIssuer       string   `name:"oidc-issuer" env:"HOOKGRAPH_OIDC_ISSUER" placeholder:"URL" help:"OpenID Connect issuer whose JSON Web Tokens are taken besides API keys, as it stands in their claim iss. Default: none."`
	OIDCAudience     []string `name:"oidc-audience" env:"HOOKGRAPH_OIDC_AUDIENCE" placeholder:"NAME" help:"What must stand in the claim aud of a token; of several, separated by commas, one."`
	OIDCJWKSURL      string   `name:"oidc-jwks-url" env:"HOOKGRAPH_OIDC_JWKS_URL" placeholder:"URL" help:"Where the issuer's keys are. Default: found by the issuer's discovery document."`
	OIDCAlgorithms   []string `name:"oidc-algorithms" env:"HOOKGRAPH_OIDC_ALGORITHMS" default:"RS256,ES256" placeholder:"NAME" help:"Algorithms by which tokens may be signed: some of ${oidc_algorithms}."`
	OIDCRoleClaim    string   `name:"oidc-role-claim" env:"HOOKGRAPH_OIDC_ROLE_CLAIM" default:"roles" placeholder:"NAME" help:"Claim with the roles of a token, or a path to it, such as realm_access.roles. The strongest counts."`
	OIDCRoles        []string `name:"oidc-roles" env:"HOOKGRAPH_OIDC_ROLES" placeholder:"VALUE=ROLE" help:"What values of the role claim mean, such as hub-admins=OPERATOR,support=VIEWER. Default: the roles' own names, OPERATOR, VIEWER and PARTNER, in any case of letters."`
	OIDCPartnerClaim string   `name:"oidc-partner-claim" env:"HOOKGRAPH_OIDC_PARTNER_CLAIM" default:"partner" placeholder:"NAME" help:"Claim with the ID of the partner whose token it is; needed with the role PARTNER."`
	OIDCScopesClaim  string   `name:"oidc-scopes-claim" env:"HOOKGRAPH_OIDC_SCOPES_CLAIM" default:"scope" placeholder:"NAME" help:"Claim with scopes, separated by blanks or as a list. Where it names some of the hub's, the token may do no more than these."`
	OIDCPrefix       string   `name:"oidc-prefix" env:"HOOKGRAPH_OIDC_PREFIX" placeholder:"TEXT" help:"What values of the role and scopes claims must start with to count, such as hookgraph: for hookgraph:viewer. It is cut off before they are read."`
}

// Points is how much each credential may ask of one node.
type Points struct {
	PointsMaximum     int `env:"HOOKGRAPH_POINTS_MAXIMUM" default:"20000000" help:"Points that a credential can save up on a node to spend on GraphQL: 10000, what one operation may cost, to 1000000000."`
	PointsRestoreRate int `env:"HOOKGRAPH_POINTS_RESTORE_RATE" default:"5000000" help:"Points that come back to it each second: 1 to 1000000000. Credentials of partners get a tenth of both."`
}

// Server is everything a running hub needs to know.
type Server struct {
	Database
	Secrets
	Logging
	OIDC
	Points

	Environment          Environment   `name:"env" env:"HOOKGRAPH_ENV" enum:"development,production" default:"${environment}" help:"development or production. Development opens GraphQL introspection, suggestions and GraphiQL."`
	Addr                 string        `env:"HOOKGRAPH_ADDR" default:"${addr}" placeholder:"HOST:PORT" help:"Address to listen on."`
	PublicURL            string        `env:"HOOKGRAPH_PUBLIC_URL" placeholder:"URL" help:"How the outside reaches this hub, for the URLs of sources. Default: derived from the address."`
	OperatorKey          string        `env:"HOOKGRAPH_OPERATOR_KEY" placeholder:"KEY" help:"An operator key given from outside, of 32 characters or more. ${operator_default}"`
	NATSURL              string        `name:"nats-url" env:"HOOKGRAPH_NATS_URL" placeholder:"URL" help:"NATS server for wake-ups between nodes that share a PostgreSQL database. Default: none, nodes look again every second."`
	AllowNetworks        []string      `env:"HOOKGRAPH_ALLOW_NETWORKS" default:"${allow_networks}" placeholder:"CIDR" help:"Networks that outbound calls may reach besides public ones, as a comma-separated list of CIDRs."`
	MaxInFlight          int           `env:"HOOKGRAPH_MAX_IN_FLIGHT" default:"1024" help:"Deliveries attempted at a time by this node, over all endpoints: 1 to 65536."`
	InboundRate          int           `name:"inbound-rate-per-address" env:"HOOKGRAPH_INBOUND_RATE_PER_ADDRESS" default:"1000" placeholder:"N" help:"Requests a second that one address may send to the sources of this node, as many at once: up to 1000000; 0 for no limit. More get 429 before their bodies are read. IPv6 addresses count by their /64; this machine's own are not limited."`
	TrustedProxies       []string      `env:"HOOKGRAPH_TRUSTED_PROXIES" placeholder:"CIDR" help:"Networks of proxies that name whom they forward for, by X-Forwarded-For or Forwarded, as a comma-separated list of CIDRs. That address then counts for rate limits and for networks allowed to sources. Default: none."`
	AllowOrigins         []string      `env:"HOOKGRAPH_ALLOW_ORIGINS" placeholder:"HOST" help:"Hosts besides the hub's own whose pages may open a GraphQL WebSocket, as a comma-separated list such as app.example.com,*.example.org. Default: none."`
	StreamsPerKey        int           `env:"HOOKGRAPH_STREAMS_PER_KEY" default:"2000" help:"GraphQL WebSockets and event streams that may be open at a time on this node with one key: 1 to 1000000."`
	TrustedDocuments     string        `env:"HOOKGRAPH_TRUSTED_DOCUMENTS" enum:"off,on,only" default:"on" help:"Trusted documents: off, on: clients may ask for them by name or hash, or only: nothing else is accepted."`
	TrustedDocumentsDir  string        `env:"HOOKGRAPH_TRUSTED_DOCUMENTS_DIR" placeholder:"PATH" help:"Folder of trusted documents: *.graphql files and manifests in JSON, all of which must be valid. Default: none but those registered by mutation."`
	PersistedQueries     int           `env:"HOOKGRAPH_PERSISTED_QUERIES" default:"0" help:"Automatic persisted queries: how many documents that clients have sent this node keeps, up to 10000 and 8 MiB together, to be asked for by hash. 0 turns them off."`
	EndpointVerification string        `name:"endpoint-verification" env:"HOOKGRAPH_ENDPOINT_VERIFICATION" enum:"off,partners,all" default:"off" help:"Which endpoints must answer a challenge before they get anything: off, partners (those of partners) or all."`
	DrainDelay           time.Duration `env:"HOOKGRAPH_DRAIN_DELAY" default:"0s" help:"How long a stop goes on taking requests with readiness off, so that a load balancer sends them elsewhere first: up to 5m."`
	ShutdownTimeout      time.Duration `env:"HOOKGRAPH_SHUTDOWN_TIMEOUT" default:"25s" help:"How long a stop waits for requests and deliveries under way before it cuts them off: up to 10m."`
}

// minOperatorKey is the least length of an operator key given from outside.
const minOperatorKey = 32

// Validate reports the first option whose value cannot work, by its flag and
// environment variable, and what to do about it.
func (s *Server) Validate() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--addr (HOOKGRAPH_ADDR) is %q: give HOST:PORT or :PORT, such as 127.0.0.1:8080", s.Addr)
	}
	if s.OperatorKey != "" && len(s.OperatorKey) < minOperatorKey {
		return fmt.Errorf("--operator-key (HOOKGRAPH_OPERATOR_KEY) has %d characters: give at least %d, such as the output of: openssl rand -hex 32", len(s.OperatorKey), minOperatorKey)
	}
	if s.MaxInFlight < 1 || s.MaxInFlight > 65536 {
		return fmt.Errorf("--max-in-flight (HOOKGRAPH_MAX_IN_FLIGHT) is %d: give 1 to 65536", s.MaxInFlight)
	}
	if s.PersistedQueries < 0 || s.PersistedQueries > 10000 {
		return fmt.Errorf("--persisted-queries (HOOKGRAPH_PERSISTED_QUERIES) is %d: give 0 to 10000", s.PersistedQueries)
	}
	if s.PersistedQueries > 0 && s.TrustedDocuments == "only" {
		return errors.New("--persisted-queries (HOOKGRAPH_PERSISTED_QUERIES) keeps what clients send, of which --trusted-documents (HOOKGRAPH_TRUSTED_DOCUMENTS) only accepts nothing: give one of them")
	}
	if s.TrustedDocumentsDir != "" && s.TrustedDocuments == "off" {
		return errors.New("--trusted-documents-dir (HOOKGRAPH_TRUSTED_DOCUMENTS_DIR) is given while --trusted-documents (HOOKGRAPH_TRUSTED_DOCUMENTS) is off: give on or only there")
	}
	if s.StreamsPerKey < 1 || s.StreamsPerKey > 1_000_000 {
		return fmt.Errorf("--streams-per-key (HOOKGRAPH_STREAMS_PER_KEY) is %d: give 1 to 1000000", s.StreamsPerKey)
	}
	if s.InboundRate < 0 || s.InboundRate > 1_000_000 {
		return fmt.Errorf("--inbound-rate-per-address (HOOKGRAPH_INBOUND_RATE_PER_ADDRESS) is %d: give 0 to 1000000", s.InboundRate)
	}
	if _, err := s.Proxies(); err != nil {
		return err
	}
	for _, host := range s.AllowOrigins {
		if _, err := path.Match(host, ""); err != nil || host == "" || strings.ContainsAny(host, "/ ") {
			return fmt.Errorf("--allow-origins (HOOKGRAPH_ALLOW_ORIGINS) has %q: give hosts without scheme and path, separated by commas, such as app.example.com or *.example.org", host)
		}
	}
	if s.DrainDelay < 0 || s.DrainDelay > 5*time.Minute {
		return fmt.Errorf("--drain-delay (HOOKGRAPH_DRAIN_DELAY) is %s: give 0s to 5m", s.DrainDelay)
	}
	if s.ShutdownTimeout < 0 || s.ShutdownTimeout > 10*time.Minute {
		return fmt.Errorf("--shutdown-timeout (HOOKGRAPH_SHUTDOWN_TIMEOUT) is %s: give 0s to 10m", s.ShutdownTimeout)
	}
	if _, err := s.AllowedNetworks(); err != nil {
		return err
	}
	if s.PublicURL != "" {
		u, err := url.Parse(s.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("--public-url (HOOKGRAPH_PUBLIC_URL) is %q: give an http or https URL without query and fragment, such as https://hooks.example.com", s.PublicURL)
		}
	}
	if err := s.Points.Validate(); err != nil {
		return err
	}
	if err := s.OIDC.Validate(s.Environment); err != nil {
		return err
	}
	return s.Database.Validate()
}

// Bounds of points. One operation may cost minPoints, so a bucket that holds less
// would never let it through.
const (
	minPoints = 10_000
	maxPoints = 1_000_000_000
)

// Validate reports a bucket of points that cannot work.
func (p *Points) Validate() error {
	if p.PointsMaximum < minPoints || p.PointsMaximum > maxPoints {
		return fmt.Errorf("--points-maximum (HOOKGRAPH_POINTS_MAXIMUM) is %d: give %d to %d", p.PointsMaximum, minPoints, maxPoints)
	}
	if p.PointsRestoreRate < 1 || p.PointsRestoreRate > maxPoints {
		return fmt.Errorf("--points-restore-rate (HOOKGRAPH_POINTS_RESTORE_RATE) is %d: give 1 to %d", p.PointsRestoreRate, maxPoints)
	}
	return nil
}

// OIDCAlgorithms are the algorithms by which tokens may be signed. None of them works
// with a secret that both sides share, let alone with none.
var OIDCAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// loopback reports whether a host is this machine, on the way to which nobody stands.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Validate reports the first option about tokens whose value cannot work.
func (o *OIDC) Validate(environment Environment) error {
	if o.OIDCIssuer == "" {
		if o.OIDCJWKSURL != "" || len(o.OIDCAudience) > 0 || len(o.OIDCRoles) > 0 {
			return errors.New("--oidc-issuer (HOOKGRAPH_OIDC_ISSUER) is empty, but other options about tokens are given: give the issuer whose tokens are to be taken, or leave them all out")
		}
		return nil
	}
	for _, one := range []struct{ option, value string }{
		{"--oidc-issuer (HOOKGRAPH_OIDC_ISSUER)", o.OIDCIssuer}, {"--oidc-jwks-url (HOOKGRAPH_OIDC_JWKS_URL)", o.OIDCJWKSURL},
	} {
		if one.value == "" {
			continue
		}
		u, err := url.Parse(one.value)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%s is not a URL that can be asked: give an https URL without credentials and fragment, such as https://login.example.com", one.option)
		}
		if u.Scheme == "http" && environment != Development && !loopback(u.Hostname()) {
			return fmt.Errorf("%s starts with http: give an https URL, because whoever can change the keys on their way can make any token", one.option)
		}
	}
	if len(o.OIDCAudience) == 0 || slices.Contains(o.OIDCAudience, "") {
		return errors.New("--oidc-audience (HOOKGRAPH_OIDC_AUDIENCE) is empty: give what the issuer writes into the claim aud of tokens for this hub, or its tokens for others would open it")
	}
	if len(o.OIDCAlgorithms) == 0 {
		return fmt.Errorf("--oidc-algorithms (HOOKGRAPH_OIDC_ALGORITHMS) is empty: give some of %s", strings.Join(OIDCAlgorithms, ", "))
	}
	for _, name := range o.OIDCAlgorithms {
		if !slices.Contains(OIDCAlgorithms, name) {
			return fmt.Errorf("--oidc-algorithms (HOOKGRAPH_OIDC_ALGORITHMS) holds %q: give some of %s", name, strings.Join(OIDCAlgorithms, ", "))
		}
	}
	for _, one := range []struct{ option, value string }{
		{"--oidc-role-claim (HOOKGRAPH_OIDC_ROLE_CLAIM)", o.OIDCRoleClaim},
		{"--oidc-partner-claim (HOOKGRAPH_OIDC_PARTNER_CLAIM)", o.OIDCPartnerClaim},
		{"--oidc-scopes-claim (HOOKGRAPH_OIDC_SCOPES_CLAIM)", o.OIDCScopesClaim},
	} {
		if one.value == "" {
			return fmt.Errorf("%s is empty: give the name of a claim", one.option)
		}
	}
	_, err := o.Roles()
	return err
}

// Roles returns OIDCRoles parsed. The last = counts, because names of groups may hold some.
func (o *OIDC) Roles() (map[string]hub.Role, error) {
	out := make(map[string]hub.Role, len(o.OIDCRoles))
	for _, one := range o.OIDCRoles {
		at := strings.LastIndexByte(one, '=')
		role := hub.Role(one[at+1:])
		if at < 1 || role != hub.RoleOperator && role != hub.RoleViewer && role != hub.RolePartner {
			return nil, fmt.Errorf("--oidc-roles (HOOKGRAPH_OIDC_ROLES) holds %q: give VALUE=ROLE with one of OPERATOR, VIEWER and PARTNER, such as hub-admins=OPERATOR", one)
		}
		out[one[:at]] = role
	}
	return out, nil
}

// Validate reports a database URL of an unknown form.
func (d *Database) Validate() error {
	switch scheme, rest, _ := strings.Cut(d.DatabaseURL, ":"); scheme {
	case "sqlite":
		if rest == "" {
			return errors.New("--database-url (HOOKGRAPH_DATABASE_URL) names no file: give sqlite:PATH, such as sqlite:hookgraph.db")
		}
	case "postgres", "postgresql":
		if _, err := url.Parse(d.DatabaseURL); err != nil {
			return errors.New("--database-url (HOOKGRAPH_DATABASE_URL) cannot be read: give postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters percent-encoded")
		}
	default:
		return errors.New("--database-url (HOOKGRAPH_DATABASE_URL) has an unknown form: give sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")
	}
	return nil
}

// AllowedNetworks returns AllowNetworks parsed.
func (s *Server) AllowedNetworks() ([]netip.Prefix, error) {
	out, err := outbound.ParseNetworks(strings.Join(s.AllowNetworks, ","))
	if err != nil {
		return nil, fmt.Errorf("--allow-networks (HOOKGRAPH_ALLOW_NETWORKS): %w: give CIDRs separated by commas, such as 10.0.0.0/8,fd00::/8", err)
	}
	return out, nil
}

// Proxies returns TrustedProxies parsed.
func (s *Server) Proxies() ([]netip.Prefix, error) {
	out, err := outbound.ParseNetworks(strings.Join(s.TrustedProxies, ","))
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxies (HOOKGRAPH_TRUSTED_PROXIES): %w: give CIDRs separated by commas, such as 10.0.0.0/8,fd00::/8", err)
	}
	return out, nil
}

// Public returns the URL at which the outside reaches the hub that listens on
// addr, without a slash at its end.
func (s *Server) Public(addr net.Addr) string {
	if s.PublicURL != "" {
		return strings.TrimRight(s.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Loopback reports whether addr is one that only this machine can reach.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Text returns the key material, from the option or from its file.
func (s *Secrets) Text() (string, error) {
	switch {
	case s.SecretKey != "" && s.SecretKeyFile != "":
		return "", errors.New("both --secret-key (HOOKGRAPH_SECRET_KEY) and --secret-key-file (HOOKGRAPH_SECRET_KEY_FILE) are given: give one of them")
	case s.SecretKey != "":
		return s.SecretKey, nil
	case s.SecretKeyFile != "":
		raw, err := os.ReadFile(s.SecretKeyFile)
		if err != nil {
			return "", fmt.Errorf("--secret-key-file (HOOKGRAPH_SECRET_KEY_FILE) cannot be read: %w", err)
		}
		return string(raw), nil
	}
	return "", errors.New("no key for secrets at rest: set HOOKGRAPH_SECRET_KEY to 32 random bytes, such as the output of `openssl rand -base64 32`, or HOOKGRAPH_SECRET_KEY_FILE to a file that holds them")
}
