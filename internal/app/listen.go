package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/listen"
	"github.com/hookgraph/hookgraph/internal/signature"
)

type listenCommand struct {
	URL         string        `env:"HOOKGRAPH_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The hub."`
	Key         string        `env:"HOOKGRAPH_KEY" placeholder:"KEY" help:"API key: EVENTS_READ and PAYLOADS_READ, with --durable DELIVERIES_WRITE and ENDPOINTS_WRITE besides. Required."`
	Forward     []string      `required:"" sep:"none" placeholder:"[/SOURCE=]URL" help:"Where events go, such as /stripe=http://localhost:3000/hooks for those of the source stripe, or a URL alone for all. Can be given several times."`
	Durable     bool          `env:"HOOKGRAPH_LISTEN_DURABLE" help:"Pull deliveries that the hub keeps and repeats until they are answered 2xx, instead of following what comes in. For receivers behind a firewall."`
	Endpoint    string        `placeholder:"ID" help:"STREAM endpoint to pull from, with --durable implied and one --forward. Default: one for each --forward, made at the first time."`
	Name        string        `env:"HOOKGRAPH_LISTEN_NAME" placeholder:"NAME" help:"Tells relays of one hub apart: those of one name share the deliveries. Default: the host's name."`
	MaxInFlight int           `default:"20" help:"With --durable: requests to each URL at a time, 1 to 1000."`
	State       string        `env:"HOOKGRAPH_LISTEN_STATE" placeholder:"PATH" help:"Without --durable: file that remembers how far events were forwarded. Default: one for hub and forwards in the user's configuration directory."`
	Restart     bool          `help:"Forget how far events were forwarded, and begin anew."`
	From        string        `enum:"latest,earliest" default:"latest" help:"Where to begin the first time: latest, or earliest for all that is stored."`
	Timeout     time.Duration `default:"30s" help:"How long a URL may take to answer."`
	Secret      string        `env:"HOOKGRAPH_LISTEN_SECRET" placeholder:"SECRET" help:"Secret in the whsec_ form that forwards are signed with. Default: made at each start, and printed."`
}

func (c *listenCommand) Run(ctx context.Context, con *console) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	options.Out = con.out
	return listen.Run(ctx, options)
}

func (c *listenCommand) options() (listen.Options, error) {
	o := listen.Options{
		URL: c.URL, Key: c.Key, Durable: c.Durable || c.Endpoint != "", EndpointID: c.Endpoint, Name: c.Name, MaxInFlight: c.MaxInFlight,
		StatePath: c.State, Restart: c.Restart, Earliest: c.From == "earliest", Timeout: c.Timeout, Secret: hub.Secret(c.Secret),
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return o, errors.New("--url (HOOKGRAPH_URL) is not the URL of a hub: give one such as https://hub.example.com")
	case c.Key == "":
		return o, errors.New("--key (HOOKGRAPH_KEY) is missing: make a key with hookgraph keys create")
	case c.MaxInFlight < 1 || c.MaxInFlight > 1000:
		return o, fmt.Errorf("--max-in-flight is %d: give 1 to 1000", c.MaxInFlight)
	case c.Timeout <= 0 || c.Timeout > 55*time.Second:
		return o, fmt.Errorf("--timeout is %s: give more than 0 and at most 55s, which leaves time to tell the hub", c.Timeout)
	case c.Endpoint != "" && len(c.Forward) != 1:
		return o, errors.New("--endpoint goes with one --forward: its deliveries can go to one URL")
	}
	if c.Secret != "" {
		if _, err := signature.ParseSecret(o.Secret); err != nil {
			return o, fmt.Errorf("--secret (HOOKGRAPH_LISTEN_SECRET): %w", err)
		}
	}
	seen := make(map[string]bool)
	for _, text := range c.Forward {
		f, err := listen.ParseForward(text)
		if err != nil {
			return o, err
		}
		if o.Durable && seen[f.Source] {
			return o, fmt.Errorf("--forward %s: with --durable each source goes to one URL", text)
		}
		seen[f.Source] = true
		o.Forwards = append(o.Forwards, f)
	}
	if o.Name == "" {
		if o.Name, err = os.Hostname(); err != nil {
			return o, errors.New("the host has no name: give one with --name (HOOKGRAPH_LISTEN_NAME)")
		}
	}
	if o.StatePath == "" && !o.Durable {
		dir, err := os.UserConfigDir()
		if err != nil {
			return o, errors.New("there is no configuration directory: give a file with --state (HOOKGRAPH_LISTEN_STATE)")
		}
		sum := sha256.Sum256([]byte(c.URL + " " + strings.Join(c.Forward, " ")))
		o.StatePath = filepath.Join(dir, "hookgraph", "listen-"+hex.EncodeToString(sum[:6])+".json")
	}
	return o, nil
}
