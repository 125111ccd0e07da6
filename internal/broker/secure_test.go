package broker_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem = a.make(&x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// issue makes a certificate for 127.0.0.1, as a server's or a client's.
func (a *authority) issue(name string) (certificate, key string) {
	a.t.Helper()
	_, private, certificate := a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// config is of a server, which asks for certificates of the authority where it is to.
func (a *authority) config(ask bool) *tls.Config {
	a.t.Helper()
	certificate, key := a.issue("server")
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: x509.NewCertPool()}
	config.ClientCAs.AddCert(a.cert)
	if ask {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// natsServer starts the program of a NATS server.
func natsServer(t *testing.T, config string) (addr string) {
	t.Helper()
	program := testkit.Program(t, "install nats-server", "nats-server", "/usr/sbin/nats-server")
	addr = testkit.FreeAddr(t)
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "listen: %q\n%s", addr, config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	testkit.Eventually(t, "the broker listens", func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return addr
}

func write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// terminating makes secure connections for a server that has none.
func terminating(t *testing.T, config *tls.Config, to string) (addr string) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				behind, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
				if err != nil {
					return
				}
				defer func() { _ = behind.Close() }()
				go func() { _, _ = io.Copy(behind, conn); _ = behind.Close() }()
				_, _ = io.Copy(conn, behind)
			}()
		}
	}()
	return listener.Addr().String()
}

// took publishes to a queue and takes the message from it.
func took(t *testing.T, publish, take string, login broker.Login) {
	t.Helper()
	target, err := broker.ParseSource(take)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	stop, opened := errors.New("stop"), make(chan struct{})
	ended := make(chan error, 1)
	consumer := &broker.Consumer{
		Dial: (&severable{}).dial, Target: target, Login: login, Name: "hookgraph-test", Opened: func(context.Context) error { close(opened); return nil },
		Take: func(_ context.Context, batch []broker.Taken, _ int) error {
			if len(batch) > 0 && string(batch[0].Body) == "x" {
				return stop
			}
			return nil
		},
	}
	go func() { ended <- consumer.Run(ctx) }()
	select {
	case <-opened:
	case err := <-ended:
		t.Fatalf("nothing can be taken: %v", err)
	}
	book := broker.NewBook((&severable{}).dial)
	defer book.Close()
	if receipt, err := book.Publish(ctx, "a", to(t, publish), login, broker.Message{ID: "m", Body: []byte("x")}); err != nil || receipt == "" {
		t.Errorf("%q %v", receipt, err)
	}
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("it ended with %v", err)
	}
}

// refusing publishes in vain.
func refusing(t *testing.T, url string, login broker.Login, want string) {
	t.Helper()
	_, err := publishing(t, (&severable{}).dial)(url, login, broker.Message{ID: "m", Body: []byte("x")})
	var of *broker.Error
	if !errors.As(err, &of) || !strings.Contains(of.Message, want) || strings.Contains(err.Error(), "distinct") {
		t.Errorf("%s: %v, not %q", url, err, want)
	}
}

func TestSecureConnectionsToNATS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	certificate, key := ours.issue("server")
	secured := fmt.Sprintf("tls { timeout: %g, cert_file: %q, key_file: %q", patience.Seconds(), write(t, "cert.pem", certificate), write(t, "key.pem", key))
	addr := natsServer(t, fmt.Sprintf("authorization { timeout: %g, user: u, password: pw-distinct }\n", patience.Seconds())+secured+"}")
	login := broker.Login{Username: "u", Password: "pw-distinct", Authorities: ours.pem}
	took(t, "tls+nats://"+addr+"/orders.a", "tls+nats://"+addr+"/orders.*", login)
	took(t, "nats://"+addr+"/others.a", "nats://"+addr+"/others.*", login) // the server wants it
	wrong := login
	wrong.Authorities = theirs.pem
	for _, l := range []broker.Login{wrong, {Username: "u", Password: "pw-distinct"}} {
		refusing(t, "tls+nats://"+addr+"/orders.a", l, "no secure connection could be made: tls: failed to verify certificate")
		refusing(t, "nats://"+addr+"/orders.a", l, "no secure connection could be made: tls: failed to verify certificate")
	}
	refusing(t, "tls+nats://"+natsServer(t, "")+"/orders.a", login, "the broker offers none")

	// A certificate tells who the hub is.
	mapped := natsServer(t, fmt.Sprintf("authorization { timeout: %g, users = [ {user: \"CN=hub\"} ] }\n", patience.Seconds())+secured+fmt.Sprintf(", ca_file: %q, verify_and_map: true }", write(t, "ca.pem", ours.pem)))
	known, knownKey := ours.issue("hub")
	took(t, "tls+nats://"+mapped+"/orders.a", "tls+nats://"+mapped+"/orders.*", broker.Login{Certificate: known, Key: hub.Secret(knownKey), Authorities: ours.pem})
	other, otherKey := ours.issue("other")
	refusing(t, "tls+nats://"+mapped+"/orders.a", broker.Login{Certificate: other, Key: hub.Secret(otherKey), Authorities: ours.pem}, "refused the credentials")
}

func TestSecureConnectionsToRabbitMQ(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	ours, theirs := newAuthority(t), newAuthority(t)
	url := "amqps" + strings.TrimPrefix(rabbit.At(terminating(t, ours.config(false), rabbit.Addr), "queue="+queue), "amqp")
	login := loginOf(rabbit)
	login.Authorities = ours.pem
	took(t, url, url, login)
	login.Authorities = theirs.pem
	refusing(t, url, login, "no secure connection could be made: tls: failed to verify certificate")
	refusing(t, url, loginOf(rabbit), "no secure connection could be made: tls: failed to verify certificate")
	refusing(t, strings.Replace(url, "127.0.0.1", "localhost", 1), broker.Login{Username: "u", Password: "pw-distinct", Authorities: ours.pem}, "not localhost")
	// The one behind knows no certificates.
	certificate, key := ours.issue("hub")
	refusing(t, url, broker.Login{Certificate: certificate, Key: hub.Secret(key), Authorities: ours.pem}, "no credentials of this kind")
}

func TestSecureConnectionsToKafka(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	cluster := testkit.KafkaCluster(t, kfake.SeedTopics(3, "orders"), kfake.TLS(ours.config(true)), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "u", "pw"))
	url := "kafka+tls://" + strings.Join(cluster.ListenAddrs(), ",") + "/orders"
	certificate, key := ours.issue("hub")
	login := broker.Login{Username: "u", Password: "pw", Certificate: certificate, Key: hub.Secret(key), Authorities: ours.pem}
	took(t, url, url, login)
	wrong := login
	wrong.Authorities = theirs.pem
	refusing(t, url, wrong, "no secure connection could be made: tls: failed to verify certificate")
	foreign, foreignKey := theirs.issue("hub")
	wrong = login
	wrong.Certificate, wrong.Key = foreign, hub.Secret(foreignKey)
	refusing(t, url, wrong, "")
	refusing(t, strings.Replace(url, "kafka+tls", "kafka", 1), login, "closed the connection")
}

// A broker whose certificate is not trusted gets nothing: no name, no password, no message.
func TestNothingIsSentToABrokerThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	for url, greeting := range map[string]string{
		"tls+nats://%s/orders":   `INFO {"server_id":"x","version":"2.10.0","proto":1,"tls_required":true,"auth_required":true,"max_payload":1000}` + "\r\n",
		"nats://%s/orders":       `INFO {"server_id":"x","version":"2.10.0","proto":1,"tls_required":true,"auth_required":true,"max_payload":1000}` + "\r\n",
		"amqps://%s/?queue=a":    "",
		"kafka+tls://%s/orders":  "",
		"kafka+tls://%s,%[1]s/x": "",
	} {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		var tried, read atomic.Int64
		config := theirs.config(false)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = conn.Close() }()
					_, _ = io.WriteString(conn, greeting)
					n, _ := io.Copy(io.Discard, bufio.NewReader(tls.Server(conn, config)))
					read.Add(n)
					tried.Add(1)
				}()
			}
		}()
		url = fmt.Sprintf(url, listener.Addr())
		refusing(t, url, broker.Login{Username: "u", Password: "pw-distinct", Authorities: ours.pem}, "no secure connection could be made")
		testkit.Eventually(t, "the broker was called", func() bool { return tried.Load() > 0 })
		if n := read.Load(); n != 0 {
			t.Errorf("%s: it has read %d bytes", url, n)
		}
	}
}

// Each of many who publish over one connection is told what became of its own message,
// whatever the others are told at the same time.
func TestRefusalsOfNATSReachThoseTheyAreAbout(t *testing.T) {
	t.Parallel()
	addr := natsServer(t, `
		jetstream { store_dir: "`+t.TempDir()+`" }
		accounts { A { jetstream: enabled, users: [
			{ user: all, password: all }
			{ user: limited, password: limited, permissions: { publish: { deny: ["denied.>", "kept.denied"] } } }
			{ user: unasking, password: unasking, permissions: { publish: { deny: ["denied.>", "$JS.API.>"] } } }
		] } }`)
	conn, err := nats.Connect("nats://all:all@"+addr, nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard, err := conn.SubscribeSync(">")
	if err == nil {
		err = heard.SetPendingLimits(-1, -1)
	}
	if err == nil {
		_, err = conn.Request("$JS.API.STREAM.CREATE.KEPT", []byte(`{"name":"KEPT","subjects":["kept.>"],"storage":"memory"}`), patience)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"limited", "unasking"} {
		var connections atomic.Int64
		book := broker.NewBook(dials(&connections))
		t.Cleanup(book.Close)
		subjects := []string{"permitted.a", "denied.a", "denied.b", "permitted.b", "denied.c"}
		if user == "limited" {
			subjects = append(subjects, "kept.denied", "kept.permitted")
		}
		results := make(chan error)
		const rounds = 40
		began := time.Now()
		for n := range rounds * len(subjects) {
			subject := subjects[n%len(subjects)]
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				_, err := book.Publish(ctx, "a", queue(t, addr, subject), broker.Login{Username: user, Password: hub.Secret(user)}, broker.Message{ID: fmt.Sprint(n), Body: []byte("x")})
				var of *broker.Error
				switch denied := strings.Contains(subject, "denied"); {
				case denied && errors.As(err, &of) && of.Refused && strings.Contains(of.Message, "do not permit to publish"):
					err = nil
				case denied || err != nil:
					err = fmt.Errorf("%s publishes to %s: %w", user, subject, errors.Join(err, errors.New("this is not its result")))
				}
				results <- err
			}()
		}
		for range rounds * len(subjects) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := connections.Load(); n != 1 {
			t.Errorf("%d connections were made", n)
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("it took %s", took)
		}
	}
}
