package harness

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

// Main runs a program. An interrupt ends its context; its error is printed under the
// program's name and makes the process exit with 1.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}
