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
	ctx, stop := context.WithCancel(context.Background())
	// Room for both: a second signal counts however soon it follows the first.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop() // the first signal drains
		second := <-signals
		signal.Reset(second)
		_ = syscall.Kill(os.Getpid(), second.(syscall.Signal)) // the second ends the process at once
	}()
	code := app.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
