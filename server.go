// Command hookgraph is a GraphQL-native integration hub: it receives events,
// delivers them, and shows both through one GraphQL schema.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hookgraph/hookgraph/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := app.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
