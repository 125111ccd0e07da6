// Package credential shows the services that the hub calls who it is: API keys,
// HTTP Basic, bearer tokens, OAuth 2.0 client credentials, signed JWTs and client
// certificates.
//
// Check says what is wrong with a credential before it is saved. A Book makes
// credentials usable and keeps what they have in common between requests: access
// tokens, parsed keys and connections. What is sent with them, and what an answer
// means, it leaves to the rooms that send. No error of this package contains a secret
// or what a token server answered.
package credential
