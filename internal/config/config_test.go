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
		Environment: config.Production, Addr: ":8080", MaxInFlight: 1,
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
		"a drain that lasts an hour":       {func(s *config.Server) { s.DrainDelay = time.Hour }, "HOOKGRAPH_DRAIN_DELAY"},
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
