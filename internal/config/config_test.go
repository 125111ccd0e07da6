package config_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
)

// valid returns options that work.
func valid() config.Server {
	return config.Server{
		Database:    config.Database{DatabaseURL: "sqlite:hub.db"},
		Environment: config.Production, Addr: ":8080", MaxInFlight: 1, StreamsPerKey: 1,
		Points: config.Points{PointsMaximum: 10_000, PointsRestoreRate: 1},
		OIDC: config.OIDC{
			OIDCIssuer: "https://login.example", OIDCAudience: []string{"hub"}, OIDCAlgorithms: []string{"RS256"},
			OIDCRoles:     []string{"cn=admins,ou=x=OPERATOR"},
			OIDCRoleClaim: "roles", OIDCPartnerClaim: "partner", OIDCScopesClaim: "scope",
		},
	}
}

func TestValidateNamesTheOptionAndWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(*config.Server)
		option string
	}{
		"an address without a port":        {func(s *config.Server) { s.Addr = "localhost" }, "HOOKGRAPH_ADDR"},
		"a short operator key":             {func(s *config.Server) { s.OperatorKey = "short" }, "HOOKGRAPH_OPERATOR_KEY"},
		"a database of an unknown form":    {func(s *config.Server) { s.DatabaseURL = "mysql://x" }, "HOOKGRAPH_DATABASE_URL"},
		"a database without a file":        {func(s *config.Server) { s.DatabaseURL = "sqlite:" }, "HOOKGRAPH_DATABASE_URL"},
		"a database URL that is not a URL": {func(s *config.Server) { s.DatabaseURL = "postgres://a:%zz@h/d" }, "HOOKGRAPH_DATABASE_URL"},
		"networks that are no CIDRs":       {func(s *config.Server) { s.AllowNetworks = []string{"10.0.0.0/99"} }, "HOOKGRAPH_ALLOW_NETWORKS"},
		"a public URL without a scheme":    {func(s *config.Server) { s.PublicURL = "hooks.example.com" }, "HOOKGRAPH_PUBLIC_URL"},
		"a public URL with a query":        {func(s *config.Server) { s.PublicURL = "https://hooks.example.com/?a=b" }, "HOOKGRAPH_PUBLIC_URL"},
		"nothing in flight":                {func(s *config.Server) { s.MaxInFlight = 0 }, "HOOKGRAPH_MAX_IN_FLIGHT"},
		"no streams at all":                {func(s *config.Server) { s.StreamsPerKey = 0 }, "HOOKGRAPH_STREAMS_PER_KEY"},
		"an origin with a scheme":          {func(s *config.Server) { s.AllowOrigins = []string{"https://app.example.com"} }, "HOOKGRAPH_ALLOW_ORIGINS"},
		"an origin that is no pattern":     {func(s *config.Server) { s.AllowOrigins = []string{"[.example.com"} }, "HOOKGRAPH_ALLOW_ORIGINS"},
		"a drain that lasts an hour":       {func(s *config.Server) { s.DrainDelay = time.Hour }, "HOOKGRAPH_DRAIN_DELAY"},
		"a bucket for no operation":        {func(s *config.Server) { s.PointsMaximum = 9_999 }, "HOOKGRAPH_POINTS_MAXIMUM"},
		"points that do not come back":     {func(s *config.Server) { s.PointsRestoreRate = 0 }, "HOOKGRAPH_POINTS_RESTORE_RATE"},
		"tokens of nobody":                 {func(s *config.Server) { s.OIDCIssuer = "" }, "HOOKGRAPH_OIDC_ISSUER"},
		"an issuer over http":              {func(s *config.Server) { s.OIDCIssuer = "http://login.example" }, "HOOKGRAPH_OIDC_ISSUER"},
		"an issuer that is no URL":         {func(s *config.Server) { s.OIDCIssuer = "login.example" }, "HOOKGRAPH_OIDC_ISSUER"},
		"keys over http":                   {func(s *config.Server) { s.OIDCJWKSURL = "http://login.example/keys" }, "HOOKGRAPH_OIDC_JWKS_URL"},
		"tokens for anybody":               {func(s *config.Server) { s.OIDCAudience = nil }, "HOOKGRAPH_OIDC_AUDIENCE"},
		"tokens signed by a shared secret": {func(s *config.Server) { s.OIDCAlgorithms = []string{"RS256", "HS256"} }, "HOOKGRAPH_OIDC_ALGORITHMS"},
		"tokens signed by nobody":          {func(s *config.Server) { s.OIDCAlgorithms = []string{"none"} }, "HOOKGRAPH_OIDC_ALGORITHMS"},
		"tokens without algorithms":        {func(s *config.Server) { s.OIDCAlgorithms = nil }, "HOOKGRAPH_OIDC_ALGORITHMS"},
		"a role claim without a name":      {func(s *config.Server) { s.OIDCRoleClaim = "" }, "HOOKGRAPH_OIDC_ROLE_CLAIM"},
		"a role that does not exist":       {func(s *config.Server) { s.OIDCRoles = []string{"admins=KING"} }, "HOOKGRAPH_OIDC_ROLES"},
		"a role without a value":           {func(s *config.Server) { s.OIDCRoles = []string{"=OPERATOR"} }, "HOOKGRAPH_OIDC_ROLES"},
		"too many persisted queries":       {func(s *config.Server) { s.PersistedQueries = 10001 }, "HOOKGRAPH_PERSISTED_QUERIES"},
		"persisted queries and only":       {func(s *config.Server) { s.PersistedQueries, s.TrustedDocuments = 1, "only" }, "HOOKGRAPH_PERSISTED_QUERIES"},
		"trusted files that are off":       {func(s *config.Server) { s.TrustedDocumentsDir, s.TrustedDocuments = "x", "off" }, "HOOKGRAPH_TRUSTED_DOCUMENTS_DIR"},
		"an inbound rate below none":       {func(s *config.Server) { s.InboundRate = -1 }, "HOOKGRAPH_INBOUND_RATE_PER_ADDRESS"},
		"an inbound rate beyond all":       {func(s *config.Server) { s.InboundRate = 1_000_001 }, "HOOKGRAPH_INBOUND_RATE_PER_ADDRESS"},
		"proxies that are no networks":     {func(s *config.Server) { s.TrustedProxies = []string{"10.0.0.0/8", "proxy.example"} }, "HOOKGRAPH_TRUSTED_PROXIES"},
		"a stop without an end":            {func(s *config.Server) { s.ShutdownTimeout = 1 << 60 }, "HOOKGRAPH_SHUTDOWN_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := valid()
			if err := s.Validate(); err != nil {
				t.Fatalf("what works is refused: %v", err)
			}
			c.damage(&s)
			err := s.Validate()
			if err == nil || !strings.Contains(err.Error(), c.option) || !strings.Contains(err.Error(), "give ") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// Nobody stands on the way to this machine itself.
func TestAnIssuerOfThisMachineIsAskedOverHTTP(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{"http://127.0.0.1:9000", "http://localhost:9000/realm", "http://[::1]"} {
		s := valid()
		s.OIDCIssuer, s.OIDCJWKSURL = issuer, issuer+"/keys"
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	for _, issuer := range []string{"http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example"} {
		s := valid()
		if s.OIDCIssuer = issuer; s.Validate() == nil {
			t.Errorf("%s is accepted", issuer)
		}
	}
}

func TestADatabaseURLIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := valid()
	s.DatabaseURL = "postgres://me:hunter2%zz@h/d"
	if err := s.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v", err)
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"[::]:8080":      "http://localhost:8080",
		"0.0.0.0:80":     "http://localhost:80",
		"[::1]:8080":     "http://[::1]:8080",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s := valid()
		if got := s.Public(tcp); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
		s.PublicURL = "https://hooks.example.com/"
		if got := s.Public(tcp); got != "https://hooks.example.com" {
			t.Errorf("got %s", got)
		}
	}
}

func TestSecretsComeFromOnePlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (&config.Secrets{SecretKeyFile: file}).Text(); err != nil || got != "from the file" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := (&config.Secrets{SecretKey: "given"}).Text(); err != nil || got != "given" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, s := range []config.Secrets{{}, {SecretKey: "a", SecretKeyFile: file}, {SecretKeyFile: file + "x"}} {
		if _, err := s.Text(); err == nil || !strings.Contains(err.Error(), "HOOKGRAPH_SECRET_KEY") {
			t.Errorf("%+v: got %v", s, err)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	s := valid()
	s.InboundRate, s.TrustedProxies = 1_000_000, []string{"10.0.0.0/8", "fd00::/8"}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	proxies, err := s.Proxies()
	if err != nil || len(proxies) != 2 || proxies[0].String() != "10.0.0.0/8" || proxies[1].String() != "fd00::/8" {
		t.Fatalf("got %v, %v", proxies, err)
	}
	s.TrustedProxies = nil
	if proxies, err := s.Proxies(); err != nil || len(proxies) != 0 {
		t.Fatalf("without any: %v, %v", proxies, err)
	}
}
