package app_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"
)

// TestVendors lets vendors' own SDKs judge what the presets accept and refuse.
func TestVendors(t *testing.T) {
	t.Parallel()
	node := nodeJS(t)
	dir := packages(t, "vendors")
	certificate, key := signingCertificate(t)
	_, other := signingCertificate(t)
	runClient(t, node, filepath.Join(dir, "vendors.test.js"),
		"VENDOR_CERTIFICATE="+certificate, "VENDOR_KEY="+key, "VENDOR_OTHER_KEY="+other)
}

// signingCertificate makes a certificate as a vendor would sign with, and its
// private key, both as PEM.
func signingCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sns.amazonaws.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}
