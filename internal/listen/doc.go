// Package listen forwards what a hub has for somebody to URLs that only they can reach:
// a server on the own machine, or one behind a firewall. It is a client like any other
// and speaks nothing but the hub's public API.
//
// By default it follows eventStream and remembers how far it has come. What it forwards
// is not recorded at the hub. As a durable relay it pulls the deliveries of a STREAM
// endpoint instead, and the hub keeps the history and repeats what fails.
package listen
