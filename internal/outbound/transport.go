package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// Bounds of every exchange, whoever makes it.
const (
	MaxResponseHeaderBytes = 64 << 10

	// A connection and its handshake are bounded on their own because the
	// transport goes on dialling for later requests after the one that asked
	// has given up.
	connectTimeout   = 15 * time.Second
	handshakeTimeout = 15 * time.Second

	idleTimeout   = 60 * time.Second
	idlePerHost   = 256 // the most that one endpoint may have in flight
	idleInAll     = 2048
	pingAfter     = 30 * time.Second // HTTP/2 connections that hear nothing
	pingAnswerIn  = 10 * time.Second
	ioBufferBytes = 4 << 10
)

// TransportOptions changes what NewTransport makes. The zero value is right for
// production.
type TransportOptions struct {
	// RootCAs are trusted in place of the machine's own.
	RootCAs *x509.CertPool
	// Certificate is shown to servers that ask for one.
	Certificate *tls.Certificate
	// IdlePerHost is how many idle connections are kept for one host; 0 is 256.
	// It should be no less than the requests in flight to one host, or
	// connections are opened and closed all the time.
	IdlePerHost int
}

// NewTransport makes the transport for calls to addresses from data: it dials
// through the guard, takes no proxy from the environment, asks for no
// compression (so that nothing unpacks to more than was read), bounds headers,
// and speaks TLS 1.2 or later. Redirects are the client's to refuse; a bare
// RoundTrip follows none.
func NewTransport(guard *Guard, options TransportOptions) *http.Transport {
	perHost := options.IdlePerHost
	if perHost <= 0 {
		perHost = idlePerHost
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: options.RootCAs}
	if options.Certificate != nil {
		config.Certificates = []tls.Certificate{*options.Certificate}
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            guard.Dialer(connectTimeout),
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true,
		MaxIdleConns:           max(idleInAll, perHost),
		MaxIdleConnsPerHost:    perHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: MaxResponseHeaderBytes,
		WriteBufferSize:        ioBufferBytes,
		ReadBufferSize:         ioBufferBytes,
		ForceAttemptHTTP2:      true, // a dial function of one's own turns it off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAnswerIn},
	}
}
