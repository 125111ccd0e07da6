package app_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestMutualTLSThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	ours, theirs := newAuthority(t), newAuthority(t)
	taking := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	url := ours.serveTLS(taking)
	// Its clock is ahead, so that it sees what the hub could save as valid expire.
	later := ours.serveTLSAt(func() time.Time { return time.Now().Add(45 * time.Minute) }, taking)
	certificate, key := ours.issue("hub")
	foreign, foreignKey := theirs.issue("hub")
	short, shortKey := ours.issueUntil("hub", time.Now().Add(30*time.Minute))
	auth := func(certificate, key, authority string) map[string]any {
		return map[string]any{"mtls": map[string]any{"certificate": certificate, "privateKey": key, "caCertificate": authority}}
	}
	for _, one := range []struct {
		name, url string
		auth      map[string]any
		want      string
	}{
		{"the receiver's certificate is of another authority", url, auth(certificate, key, theirs.pem), "the endpoint's certificate is signed by an unknown authority"},
		{"ours is of another authority", url, auth(foreign, foreignKey, ours.pem), "the endpoint does not know the authority that signed the client certificate it was shown"},
		{"ours expires after it was saved", later, auth(short, shortKey, ours.pem), "it has expired or is not valid yet"},
	} {
		id, _ := c.create(map[string]any{"name": one.name, "url": one.url, "auth": one.auth, "retryPolicy": map[string]any{"schedule": []string{"PT0S"}}})
		c.subscribe(id, `eventTypes: ["`+id+`"]`)
		sent := c.post("s", nil, []byte(`{"type":"`+id+`"}`))
		d := c.only(sent.ID, "it is dead", func(d delivery) bool { return d.Status == "DEAD" })
		if a := d.Attempts.Nodes[0]; a.Outcome != "TLS_FAILED" || !contains(valueOf(a.Error), one.want) {
			t.Errorf("%s: %s %q", one.name, a.Outcome, valueOf(a.Error))
		}
	}

	// A user name and a password go to whom an authority of one's own has signed, and to nobody else.
	asking := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "u" || password != "p" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(asking.Close)
	signed := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: asking.Certificate().Raw}))
	for authority, want := range map[string]string{signed: "SUCCEEDED", theirs.pem: "TLS_FAILED"} {
		basic := map[string]any{"basic": map[string]any{"username": "u", "password": "p", "caCertificate": authority}}
		id, _ := c.create(map[string]any{"name": want, "url": asking.URL, "auth": basic, "retryPolicy": map[string]any{"schedule": []string{"PT0S"}}})
		c.subscribe(id, `eventTypes: ["`+id+`"]`)
		sent := c.post("s", nil, []byte(`{"type":"`+id+`"}`))
		d := c.only(sent.ID, "it has ended", func(d delivery) bool { return d.Status == "DEAD" || d.Status == "DELIVERED" })
		if a := d.Attempts.Nodes[0]; a.Outcome != want {
			t.Errorf("it is %s, not %s: %q", a.Outcome, want, valueOf(a.Error))
		}
	}

	// What cannot work is not saved.
	old, oldKey := ours.issueUntil("hub", time.Now().Add(-time.Minute))
	for want, wrong := range map[string]map[string]any{
		"expired on":               auth(old, oldKey, ours.pem),
		"not the private key":      auth(certificate, foreignKey, ours.pem),
		"-----BEGIN CERTIFICATE--": auth(certificate, key, "nonsense"),
	} {
		a := c.ask(`mutation ($input: CreateEndpointInput!) { createEndpoint(input: $input) { endpoint { id } userErrors { field message } } }`,
			map[string]any{"input": map[string]any{"name": "x", "url": url, "auth": wrong}})
		if !contains(string(a.Data), want) || contains(string(a.Data), "PRIVATE KEY") {
			t.Errorf("not %q but %s", want, a.Data)
		}
	}
}
