// Package outbound is the one way out: every connection that the hub opens to
// an address from data (endpoints, token URLs, key sets, pollers) is dialled
// through its Guard, which judges the address actually dialled, after name
// resolution, so that no name, redirect or spelling can lead inside.
//
// It knows networks and HTTP transports. What is sent, and what an answer means,
// it leaves to the rooms that send.
package outbound
