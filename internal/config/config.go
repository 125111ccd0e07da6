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
	"strconv"
	"strings"
	"time"

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

// Server is everything a running hub needs to know.
type Server struct {
	Database
	Secrets
	Logging

	Environment     Environment   `name:"env" env:"HOOKGRAPH_ENV" enum:"development,production" default:"${environment}" help:"development or production. Development opens GraphQL introspection, suggestions and GraphiQL."`
	Addr            string        `env:"HOOKGRAPH_ADDR" default:"${addr}" placeholder:"HOST:PORT" help:"Address to listen on."`
	PublicURL       string        `env:"HOOKGRAPH_PUBLIC_URL" placeholder:"URL" help:"How the outside reaches this hub, for the URLs of sources. Default: derived from the address."`
	OperatorKey     string        `env:"HOOKGRAPH_OPERATOR_KEY" placeholder:"KEY" help:"An operator key given from outside, of 32 characters or more. ${operator_default}"`
	NATSURL         string        `name:"nats-url" env:"HOOKGRAPH_NATS_URL" placeholder:"URL" help:"NATS server for wake-ups between nodes that share a PostgreSQL database. Default: none, nodes look again every second."`
	AllowNetworks   []string      `env:"HOOKGRAPH_ALLOW_NETWORKS" default:"${allow_networks}" placeholder:"CIDR" help:"Networks that outbound calls may reach besides public ones, as a comma-separated list of CIDRs."`
	MaxInFlight     int           `env:"HOOKGRAPH_MAX_IN_FLIGHT" default:"1024" help:"Deliveries attempted at a time by this node, over all endpoints: 1 to 65536."`
	DrainDelay      time.Duration `env:"HOOKGRAPH_DRAIN_DELAY" default:"0s" help:"How long a stop goes on taking requests with readiness off, so that a load balancer sends them elsewhere first: up to 5m."`
	ShutdownTimeout time.Duration `env:"HOOKGRAPH_SHUTDOWN_TIMEOUT" default:"25s" help:"How long a stop waits for requests and deliveries under way before it cuts them off: up to 10m."`
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
	return s.Database.Validate()
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
