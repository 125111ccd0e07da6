// Package signature knows the schemes by which webhooks are signed: Standard
// Webhooks 1.0 (v1, HMAC-SHA256) in both directions, and the pieces of which
// other keyed-hash schemes are made - algorithms, encodings, the ways a header
// carries signatures, timestamps and their tolerance.
//
// It works on bytes and header values. Which header holds what, and which
// secrets apply, is for its callers to say.
package signature
