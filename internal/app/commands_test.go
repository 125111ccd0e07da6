package app_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/hookgraph/hookgraph/internal/app"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// execute runs a command that ends by itself.
func execute(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e testkit.Output
	code = app.Execute(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// background runs a command until the test ends it.
func background(t *testing.T, args ...string) (out, errOut *testkit.Output, end func() int) {
	t.Helper()
	out, errOut = &testkit.Output{}, &testkit.Output{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- app.Execute(ctx, args, out, errOut) }()
	end = sync.OnceValue(func() int { cancel(); return <-done })
	t.Cleanup(func() { end() })
	return out, errOut, end
}

func TestDevPrintsAFirstEventThatWorksAsPrinted(t *testing.T) {
	t.Parallel()
	bash := testkit.Program(t, "install bash", "bash")
	testkit.Program(t, "install curl", "curl")
	out, errOut, end := background(t, "dev", "--addr", "127.0.0.1:0", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "dev", "hub.db"))
	testkit.Eventually(t, "dev says how to begin", func() bool { return strings.Contains(out.String(), "# 5. ") })
	if link := regexp.MustCompile(`http://\S+/graphiql#key=[0-9a-f]{64}\n`); !link.MatchString(out.String()) {
		t.Errorf("no link opens GraphiQL with the key: %s", out)
	}
	_, script, found := strings.Cut(out.String(), "\nHUB=")
	if !found {
		t.Fatalf("printed: %s", out)
	}
	script = "HUB=" + script
	hub, _, _ := strings.Cut(script, "# 1. ")
	script, last, _ := strings.Cut(script, "# 5. ")
	run := func(script string) string {
		answers, err := exec.CommandContext(t.Context(), bash, "-c", script).Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, answers)
		}
		return string(answers)
	}
	for paste := range 2 { // the second paste finds the source there, and works all the same
		text := run(script)
		var shown string
		testkit.Eventually(t, "the delivery is shown", func() bool { // for a slow machine it says too little how long to wait
			shown = run(hub + "# 5. " + last)
			return strings.Contains(shown, `"status":"DELIVERED"`)
		})
		text += shown
		if n := strings.Count(text, `"status":"DELIVERED"`); n != 1 || !strings.Contains(text, `"statusCode":200`) || !strings.Contains(text, `"total":42`) {
			t.Errorf("the commands answered: %s", text)
		}
		if paste == 0 {
			shownAnswers(t, text)
		}
	}
	if code := end(); code != 0 {
		t.Errorf("it ended with %d: %s", code, errOut)
	}
}

func TestAWrongStartSaysWhatToDoInOneLine(t *testing.T) {
	t.Parallel()
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = used.Close() })
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	if code, _, errOut := execute(t, "migrate", "--database-url", "sqlite:"+newer); code != 0 {
		t.Fatal(errOut)
	}
	db, err := sql.Open("sqlite3", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	served := options(t)
	start(t, served)
	other := options(t)
	sealed := strings.TrimPrefix(other.DatabaseURL, "sqlite:")
	c := start(t, other)
	c.endpoint("http://127.0.0.1:1/", "") // it has a signing secret
	c.stop()
	key := "--secret-key=" + secretKey
	fresh := "--database-url=sqlite:" + filepath.Join(dir, "hub.db")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an unknown option":            {[]string{"serve", "--adr", ":1"}, 2, "--adr"},
		"an unknown command":           {[]string{"sarve"}, 2, "sarve"},
		"a value outside its choices":  {[]string{"serve", "--env", "staging"}, 2, "--env"},
		"a missing secret key":         {[]string{"serve", fresh}, 1, "HOOKGRAPH_SECRET_KEY"},
		"a secret key of another size": {[]string{"serve", fresh, "--secret-key=c2hvcnQ="}, 1, "32"},
		"a used port":                  {[]string{"serve", fresh, key, "--addr", used.Addr().String()}, 1, "HOOKGRAPH_ADDR"},
		"a database that is no file":   {[]string{"serve", "--database-url=sqlite:" + dir, key, "--addr=127.0.0.1:0"}, 1, "HOOKGRAPH_DATABASE_URL"},
		"a database that is not there": {[]string{"serve", "--database-url=postgres://nobody:hunter2@127.0.0.1:1/none", key, "--addr=127.0.0.1:0"}, 1, "HOOKGRAPH_DATABASE_URL"},
		"a file that is no database":   {[]string{"serve", "--database-url=sqlite:" + garbage, key, "--addr=127.0.0.1:0"}, 1, "HOOKGRAPH_DATABASE_URL"},
		"a file inside a file":         {[]string{"serve", "--database-url=sqlite:" + garbage + "/hub.db", key, "--addr=127.0.0.1:0"}, 1, "HOOKGRAPH_DATABASE_URL"},
		"a file that is served":        {[]string{"serve", "--database-url=" + served.DatabaseURL, key, "--addr=127.0.0.1:0"}, 1, "another"},
		"the key of another database":  {[]string{"serve", "--database-url=sqlite:" + sealed, "--secret-key=" + strings.ReplaceAll(secretKey, "A", "B")[:42] + "A=", "--addr=127.0.0.1:0"}, 1, "HOOKGRAPH_SECRET_KEY"},
		"a port that cannot be":        {[]string{"serve", fresh, key, "--addr=127.0.0.1:99999"}, 2, "serve --help"},
		"dev in production":            {[]string{"dev", "--env=production"}, 1, "HOOKGRAPH_ENV"},
		"a folder that cannot be":      {[]string{"dev", "--addr=127.0.0.1:0", "--database-url=sqlite:" + garbage + "/dev/hub.db"}, 1, "folder"},
		"a newer database":             {[]string{"serve", "--database-url=sqlite:" + newer, key, "--addr=127.0.0.1:0"}, 1, "newer"},
		"a short operator key":         {[]string{"serve", fresh, key, "--operator-key=short"}, 2, "HOOKGRAPH_OPERATOR_KEY"},
		"dev for the outside":          {[]string{"dev", "--addr", "0.0.0.0:0"}, 1, "loopback"},
		"a role that does not exist":   {[]string{"keys", "create", fresh, "--role=KING"}, 2, "--role"},
		"a scope that does not exist":  {[]string{"keys", "create", fresh, "--scopes=RULE"}, 1, "EVENTS_READ"},
		"a key that does not exist":    {[]string{"keys", "revoke", fresh, "key_x"}, 1, "keys list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel() // a start that succeeds would serve for ever
			var o, e testkit.Output
			code := app.Execute(ctx, c.args, &o, &e)
			out, errOut := o.String(), e.String()
			if code != c.code || out != "" || !strings.Contains(errOut, c.want) || strings.Count(errOut, "\n") != 1 || !strings.HasPrefix(errOut, "hookgraph: ") {
				t.Errorf("exit %d, printed %q and %q", code, out, errOut)
			}
			if strings.Contains(errOut, "hunter2") {
				t.Error("the password was printed")
			}
		})
	}
}

func TestPostgreSQLThatRefusesSaysWhy(t *testing.T) {
	t.Parallel()
	there := testkit.Postgres(t)
	for name, c := range map[string]struct {
		change func(*url.URL)
		want   string
	}{
		"an unknown database": {func(u *url.URL) { u.Path = "/hookgraph_is_not_here" }, "hookgraph_is_not_here"},
		"an unknown user":     {func(u *url.URL) { u.User = url.UserPassword("nobody_here", "hunter2") }, "nobody_here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(there)
			if err != nil {
				t.Fatal(err)
			}
			c.change(u)
			code, out, errOut := execute(t, "migrate", "--database-url", u.String())
			if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 || strings.Count(errOut, c.want) != 1 ||
				!strings.Contains(errOut, "HOOKGRAPH_DATABASE_URL") || strings.Contains(errOut, "hunter2") {
				t.Errorf("exit %d, printed %q and %q", code, out, errOut)
			}
		})
	}
}

func TestHelpDocumentsEveryOption(t *testing.T) {
	t.Parallel()
	for command, defaults := range map[string][]string{
		"dev":         {"development", "127.0.0.1:8080", "sqlite:.hookgraph/hookgraph.db", "127.0.0.0/8"},
		"serve":       {"production", ":8080", "sqlite:hookgraph.db"},
		"migrate":     {"sqlite:hookgraph.db"},
		"keys create": {"sqlite:hookgraph.db", "OPERATOR"},
	} {
		code, out, errOut := execute(t, append(strings.Fields(command), "--help")...)
		if code != 0 || errOut != "" {
			t.Errorf("%s: exit %d, %q", command, code, errOut)
		}
		if strings.Contains(out, "${") {
			t.Errorf("%s: a placeholder is printed: %s", command, out)
		}
		wanted := append([]string{"HOOKGRAPH_DATABASE_URL"}, defaults...)
		if command == "dev" || command == "serve" {
			wanted = append(wanted, "HOOKGRAPH_ENV", "HOOKGRAPH_ADDR", "HOOKGRAPH_NATS_URL", "HOOKGRAPH_OPERATOR_KEY", "HOOKGRAPH_SECRET_KEY",
				"HOOKGRAPH_SECRET_KEY_FILE", "HOOKGRAPH_ALLOW_NETWORKS", "HOOKGRAPH_PUBLIC_URL", "HOOKGRAPH_LOG_LEVEL")
		}
		for _, want := range wanted {
			if !strings.Contains(out, want) {
				t.Errorf("%s --help does not mention %s:\n%s", command, want, out)
			}
		}
	}
}

func TestKeysAreMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "hub.db")
	at := "--database-url=sqlite:" + database
	code, out, errOut := execute(t, "keys", "create", at, "--name", "dashboard", "--role", "VIEWER")
	if code != 0 {
		t.Fatal(errOut)
	}
	key := strings.TrimSpace(out)

	o := options(t)
	o.DatabaseURL = "sqlite:" + database
	c := start(t, o) // keys are made and revoked beside a running hub too
	c.key = key
	if a := c.ask(`{ viewer { role scopes } }`, nil); string(a.Data) != `{"viewer":{"role":"VIEWER","scopes":["EVENTS_READ","PAYLOADS_READ"]}}` {
		t.Errorf("the viewer is %s %+v", a.Data, a.Errors)
	}
	a := c.ask(`mutation { createSource(input: {name: "x", allowUnverified: true}) { source { id } } }`, nil)
	if len(a.Errors) != 1 || a.Errors[0].Extensions["code"] != "FORBIDDEN" {
		t.Errorf("a viewer that changes things was answered %s %+v", a.Data, a.Errors)
	}
	_, list, _ := execute(t, "keys", "list", at)
	id := regexp.MustCompile(`key_\w+`).FindString(list)
	if !strings.Contains(list, "dashboard") || strings.Contains(list, key) || id == "" {
		t.Fatalf("listed: %s", list)
	}
	if code, _, errOut := execute(t, "keys", "revoke", at, id); code != 0 {
		t.Fatal(errOut)
	}
	testkit.Eventually(t, "the revoked key stops working", func() bool {
		a := c.ask(`{ viewer { role } }`, nil)
		return len(a.Errors) == 1 && a.Errors[0].Extensions["code"] == "UNAUTHENTICATED"
	})
}

func TestOnlyWhatIsOpenIsOpen(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Environment = "production"
	c := start(t, o)
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusOK,
		"/graphiql": http.StatusNotFound, "/dev/receiver": http.StatusNotFound, "/": http.StatusNotFound, "/in/none": http.StatusNotFound,
	} {
		if status, raw := c.send(http.MethodGet, path, nil, nil); status != want {
			t.Errorf("%s was answered %d %s", path, status, raw)
		}
	}
	query, err := json.Marshal(map[string]string{"query": `{ viewer { role } }`})
	if err != nil {
		t.Fatal(err)
	}
	for _, credentials := range []string{"", "Bearer wrong", "Basic b3A6b3A=", "Bearer"} {
		header := http.Header{"Content-Type": {"application/json"}}
		if credentials != "" {
			header.Set("Authorization", credentials)
		}
		if status, raw := c.send(http.MethodPost, "/graphql", header, query); status != http.StatusUnauthorized || !contains(string(raw), "UNAUTHENTICATED") {
			t.Errorf("%q was answered %d %s", credentials, status, raw)
		}
	}
	for _, q := range []string{`{ __schema { types { name } } }`, `{ viewerr { role } }`} {
		a := c.ask(q, nil)
		if len(a.Errors) == 0 || contains(a.Errors[0].Message, "Did you mean") || contains(string(a.Data), "name") {
			t.Errorf("%s was answered %s %+v", q, a.Data, a.Errors)
		}
	}
}
