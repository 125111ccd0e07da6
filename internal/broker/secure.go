package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// Login is how the hub shows a broker who calls; either a name and a password, or a
// token, or a certificate, or nothing.
type Login struct {
	Username string
	Password hub.Secret
	Token    hub.Secret
	// Certificate and Key are of the hub, in PEM; "": none is shown.
	Certificate string
	Key         hub.Secret
	// Authorities may sign the certificate of the broker, in PEM; "": those that the
	// machine trusts.
	Authorities string
}

// LoginOf returns the login of an endpoint's credential. Brokers know no others than
// BASIC, BEARER and MTLS.
func LoginOf(auth *hub.EndpointAuth) Login {
	switch {
	case auth == nil:
		return Login{}
	case auth.Kind == hub.AuthBasic:
		return Login{Username: auth.Username, Password: auth.Secret, Authorities: auth.CACertificate}
	case auth.Kind == hub.AuthMTLS:
		return Login{Certificate: auth.Certificate, Key: auth.Secret, Authorities: auth.CACertificate}
	}
	return Login{Token: auth.Secret}
}

// CheckLogin says for people what is wrong with a credential for this broker.
func (t *Target) CheckLogin(auth *hub.EndpointAuth) error {
	switch {
	case auth == nil:
		return nil
	case auth.Kind == hub.AuthBearer && !t.driver.tokens:
		return errors.New("this broker is shown a user name and a password (basic) or a certificate (mtls)")
	case auth.Kind == hub.AuthMTLS && !t.driver.secure:
		return fmt.Errorf("a certificate is shown over TLS alone: the URL begins with %s", t.driver.securely)
	case auth.CACertificate != "" && !t.driver.secure:
		return fmt.Errorf("brokers show certificates over TLS alone: the URL begins with %s", t.driver.securely)
	}
	return nil
}

// tls returns how a secure connection is made with the login.
func (l *Login) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.Authorities != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(l.Authorities)) {
			return nil, &Error{Message: "the CA certificate of the credential cannot be used"}
		}
	}
	if l.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(l.Certificate), []byte(l.Key.Reveal()))
		if err != nil {
			return nil, &Error{Message: "the certificate of the credential and its key cannot be used"}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// handshake makes a connection to an address secure, and closes it where it cannot: then
// nothing was said yet.
func (l *Login) handshake(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	config, err := l.tls()
	if err == nil {
		if config.ServerName, _, err = net.SplitHostPort(address); err == nil {
			secured := tls.Client(conn, config)
			if err = secured.HandshakeContext(ctx); err == nil {
				return secured, nil
			}
			err = insecure(err)
		}
	}
	_ = conn.Close() // it was of no use
	return nil, err
}

// insecure says why there is no secure connection.
func insecure(err error) error {
	why := strings.TrimPrefix(err.Error(), nats.ErrTLS.Error()+": ") // it would say so twice
	return &Error{Insecure: true, Message: fmt.Sprintf("no secure connection could be made: %.200s", why), cause: err}
}

// guardedDialer remembers how its last connection failed, which clients say in words of
// their own or keep to themselves.
type guardedDialer struct {
	dial DialFunc
	// secure makes a connection to an address secure; nil: that is the client's work.
	secure func(ctx context.Context, conn net.Conn, address string) (net.Conn, error)
	// until ends what is done on its connections; nil: nothing does.
	until context.Context //nolint:containedctx // that of the client, whose dialer this is

	mu     sync.Mutex
	failed error // nil: the last one was made
}

func (d *guardedDialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err == nil && d.secure != nil {
		conn, err = d.secure(ctx, conn, address)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed = err; err != nil {
		return nil, err
	}
	if d.until != nil {
		raw := conn
		conn = &ending{conn, context.AfterFunc(d.until, func() { _ = raw.Close() })}
	}
	return conn, nil
}

// mend forgets how the last connection failed.
func (d *guardedDialer) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = nil
}

// ending is a connection that ends with its client.
type ending struct {
	net.Conn
	forget func() bool
}

func (e *ending) Close() error {
	e.forget()
	return e.Conn.Close()
}

// failure returns why the last connection could not be made: a refusal of the guard or an
// *Error; nil for none and for all else.
func (d *guardedDialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var known *Error
	var blocked *outbound.BlockedError
	switch {
	case errors.As(d.failed, &blocked):
		return blocked
	case errors.As(d.failed, &known):
		return known
	}
	return nil
}

// broken reports whether the last connection could not be made.
func (d *guardedDialer) broken() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed != nil
}
