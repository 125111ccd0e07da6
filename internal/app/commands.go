package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/observe"
	"github.com/hookgraph/hookgraph/internal/store"
)

// commands is the command line. The set tags give the defaults that differ
// between dev and serve their values.
type commands struct {
	//nolint:staticcheck // kong reads every set tag of a field
	Dev devCommand `cmd:"" set:"environment=development" set:"addr=127.0.0.1:8080" set:"database_url=sqlite:.hookgraph/hookgraph.db" set:"allow_networks=127.0.0.0/8,::1/128" set:"secret_default=Default: made at the first start and kept beside the database." set:"operator_default=Default: made at the first start and kept beside the database." help:"Run the hub for development: SQLite, loopback only, and a first event ready to paste."`
	//nolint:staticcheck // as above
	Serve   serveCommand   `cmd:"" set:"environment=production" set:"addr=:8080" set:"database_url=sqlite:hookgraph.db" set:"allow_networks=" set:"secret_default=Required, unless --secret-key-file is given." set:"operator_default=Keys can also be made with: hookgraph keys create." help:"Run the hub. Brings the database to this version first."`
	Keys    keysCommand    `cmd:"" set:"database_url=sqlite:hookgraph.db" help:"Make, list and revoke API keys."`
	Listen  listenCommand  `cmd:"" help:"Forward what a hub receives to local URLs, as it happens; with --durable, relay deliveries to receivers behind a firewall."`
	Migrate migrateCommand `cmd:"" set:"database_url=sqlite:hookgraph.db" help:"Bring the database to this version, and say what was done."`

	Version kong.VersionFlag `help:"Say the version and stop."`
}

// console is where a command prints.
type console struct {
	out, err io.Writer
}

// Execute runs the command line and returns the exit code: 0 for success, 2 for a
// wrong command line, 1 for everything else that went wrong, after one line that
// says what to do.
func Execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	var cli commands
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("hookgraph"),
		kong.Description("A GraphQL-native integration hub: receives events, delivers them, and shows both."),
		kong.Writers(out, errOut),
		kong.ValueFormatter(describe),
		kong.Exit(func(code int) { exit = code }),
		kong.Vars{"version": Version(), "oidc_algorithms": strings.Join(config.OIDCAlgorithms, ", ")},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&console{out: out, err: errOut}),
	)
	if err != nil {
		panic(err) // the declarations themselves are wrong
	}
	selected, err := parser.Parse(args)
	if exit >= 0 { // --help and --version have answered
		return exit
	}
	if err != nil {
		command := where(err)
		// Kong puts the command before what an option's own check says.
		text := strings.TrimPrefix(oneLine(err), strings.TrimPrefix(command, "hookgraph ")+": ")
		_, _ = fmt.Fprintf(errOut, "hookgraph: %s; see %s --help\n", text, command)
		return 2
	}
	if err := selected.Run(); err != nil {
		_, _ = fmt.Fprintf(errOut, "hookgraph: %s\n", oneLine(err))
		return 1
	}
	return 0
}

// where names the command whose help tells more about a wrong command line.
func where(err error) string {
	words := []string{"hookgraph"}
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && wrong.Context != nil {
		for _, step := range wrong.Context.Path {
			if step.Command != nil {
				words = append(words, step.Command.Name)
			}
		}
	}
	return strings.Join(words, " ")
}

// describe says of an option what it is for, its default and its environment
// variable.
func describe(value *kong.Value) string {
	help := value.Help
	if value.HasDefault && value.Default != "" {
		help += " Default: " + value.Default + "."
	}
	if len(value.Tag.Envs) > 0 {
		help += " ($" + strings.Join(value.Tag.Envs, ", $") + ")"
	}
	return help
}

// oneLine keeps an error that a driver spread over lines on one.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

type serveCommand struct {
	config.Server
}

func (c *serveCommand) Run(ctx context.Context, con *console) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	return serve(ctx, c.Server, text, observe.NewLogger(con.err, c.LogLevel, c.LogFormat), nil)
}

type migrateCommand struct {
	config.Database
	config.Logging
}

func (c *migrateCommand) Run(ctx context.Context, con *console) error {
	if err := c.Validate(); err != nil {
		return err
	}
	st, err := store.Open(ctx, store.Config{URL: c.DatabaseURL, Clock: hub.SystemClock{}, Logger: observe.NewLogger(con.err, c.LogLevel, c.LogFormat), Tool: true})
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // what was written is committed
	from, to, err := st.Migrate(ctx)
	if err != nil {
		return err
	}
	if from == to {
		_, err = fmt.Fprintf(con.out, "the database is at version %d already\n", to)
	} else {
		_, err = fmt.Fprintf(con.out, "the database was brought from version %d to %d\n", from, to)
	}
	return err
}

type keysCommand struct {
	Create keysCreateCommand `cmd:"" help:"Make a key and print it. It is shown this once."`
	List   keysListCommand   `cmd:"" help:"List the keys. The keys themselves are not kept."`
	Revoke keysRevokeCommand `cmd:"" help:"Revoke a key. It stops working within seconds."`
}

// keyStore opens the database for a command that works on keys.
func keyStore(ctx context.Context, db config.Database, log config.Logging, con *console) (*store.Store, error) {
	if err := db.Validate(); err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Config{URL: db.DatabaseURL, Clock: hub.SystemClock{}, Logger: observe.NewLogger(con.err, log.LogLevel, log.LogFormat), Tool: true})
	if err != nil {
		return nil, err
	}
	if _, _, err := st.Migrate(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// issuer makes and revokes keys for a command.
func issuer(st *store.Store, log config.Logging, con *console) *auth.Issuer {
	return auth.NewIssuer(st, hub.SystemClock{}, observe.NewLogger(con.err, log.LogLevel, log.LogFormat))
}

// commandLine is whoever runs a command: they hold the database, so nothing is
// beyond them.
func commandLine() *hub.Viewer {
	return &hub.Viewer{Role: hub.RoleOperator, Scopes: hub.Scopes()}
}

type keysCreateCommand struct {
	config.Database
	config.Logging
	Name    string        `default:"operator" help:"What the key is for."`
	Role    hub.Role      `enum:"OPERATOR,VIEWER,PARTNER" default:"OPERATOR" help:"OPERATOR runs the hub, VIEWER looks on, PARTNER is an outside party."`
	Partner string        `help:"ID of the partner that the key is for, with --role PARTNER."`
	Scopes  []hub.Scope   `help:"What the key may do, as a comma-separated list. Default: all of its role."`
	Expires time.Duration `help:"How long it is valid, such as 720h. Default: until it is revoked."`
}

func (c *keysCreateCommand) Run(ctx context.Context, con *console) error {
	if c.Expires < 0 {
		return fmt.Errorf("--expires is %s: give a positive duration, such as 720h", c.Expires)
	}
	wanted := auth.KeyInput{Name: c.Name, Role: c.Role, PartnerID: c.Partner}
	if len(c.Scopes) > 0 {
		wanted.Scopes = c.Scopes
	}
	if c.Expires > 0 {
		expires := hub.SystemClock{}.Now().Add(c.Expires)
		wanted.ExpiresAt = &expires
	}
	st, err := keyStore(ctx, c.Database, c.Logging, con)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // what was written is committed
	_, text, err := issuer(st, c.Logging, con).Create(ctx, commandLine(), wanted)
	if err != nil {
		return asOptions(err)
	}
	_, err = fmt.Fprintln(con.out, text.Reveal())
	return err
}

// asOptions names the options that an input was made of.
func asOptions(err error) error {
	var problems hub.UserErrors
	if !errors.As(err, &problems) {
		return err
	}
	said := make([]string, len(problems))
	for i, p := range problems {
		said[i] = "--" + strings.TrimSuffix(strings.TrimSuffix(p.Field[len(p.Field)-1], "At"), "Id") + ": " + p.Message
	}
	return errors.New(strings.Join(said, "; "))
}

type keysListCommand struct {
	config.Database
	config.Logging
}

func (c *keysListCommand) Run(ctx context.Context, con *console) error {
	st, err := keyStore(ctx, c.Database, c.Logging, con)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // what was written is committed
	keys, err := allKeys(ctx, st)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tNAME\tROLE\tSTARTS WITH\tCREATED\tLAST USED\tSTATE") // Flush returns its error
	for _, k := range keys {
		state := "valid"
		switch {
		case !k.RevokedAt.IsZero():
			state = "revoked " + k.RevokedAt.Format(time.RFC3339)
		case !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(hub.SystemClock{}.Now()):
			state = "expired " + k.ExpiresAt.Format(time.RFC3339)
		case !k.ExpiresAt.IsZero():
			state = "valid until " + k.ExpiresAt.Format(time.RFC3339)
		}
		used := "never"
		if !k.LastUsedAt.IsZero() {
			used = k.LastUsedAt.Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, k.Prefix, k.CreatedAt.Format(time.RFC3339), used, state)
	}
	return w.Flush()
}

// allKeys reads the keys page by page, newest first.
func allKeys(ctx context.Context, st *store.Store) ([]*hub.APIKey, error) {
	var keys []*hub.APIKey
	for page := (hub.Page{Size: hub.MaxPageSize}); ; page.After = keys[len(keys)-1].ID {
		found, err := st.APIKeys(ctx, page)
		if err != nil {
			return nil, err
		}
		keys = append(keys, found.Items...)
		if !found.HasNext {
			return keys, nil
		}
	}
}

type keysRevokeCommand struct {
	config.Database
	config.Logging
	ID string `arg:"" help:"The key's ID, from hookgraph keys list."`
}

func (c *keysRevokeCommand) Run(ctx context.Context, con *console) error {
	st, err := keyStore(ctx, c.Database, c.Logging, con)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // what was written is committed
	if _, err := issuer(st, c.Logging, con).Revoke(ctx, commandLine(), c.ID); errors.Is(err, hub.ErrNotFound) {
		return fmt.Errorf("there is no key %q: see hookgraph keys list", c.ID)
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(con.out, "revoked %s\n", c.ID)
	return err
}
