package quorum

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOwnCertificateIsChecked(t *testing.T) {
	ca, other := newTestCA(t, "ours"), newTestCA(t, "theirs")
	good := ca.node("n1")
	junk := ca.path("junk.pem")
	require.NoError(t, os.WriteFile(junk, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600))
	past, soon := time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
	swap := func(f TLSFiles, edit func(*TLSFiles)) TLSFiles { edit(&f); return f }
	for name, tc := range map[string]struct {
		files TLSFiles
		want  string
	}{
		"no ca":          {swap(good, func(f *TLSFiles) { f.CA = "/none/ca.pem" }), "quorum.tls.ca: open /none/ca.pem: no such file"},
		"no cert":        {swap(good, func(f *TLSFiles) { f.Cert = "/none/n1.pem" }), "quorum.tls.cert: open /none/n1.pem: no such file"},
		"no key":         {swap(good, func(f *TLSFiles) { f.Key = "/none/key.pem" }), "quorum.tls.key: open /none/key.pem: no such file"},
		"ca is junk":     {swap(good, func(f *TLSFiles) { f.CA = junk }), "holds no PEM certificate"},
		"cert is junk":   {swap(good, func(f *TLSFiles) { f.Cert = junk }), "quorum.tls.cert " + junk},
		"another's key":  {swap(good, func(f *TLSFiles) { f.Key = ca.node("n2").Key }), "private key does not match public key"},
		"another's name": {ca.node("n2"), "is for n2, not for this node, n1; issue one with `litefence ca issue n1`"},
		"expired":        {ca.issue("old", testCert{names: []string{"n1"}, to: past}), "expired on " + stamp(past)},
		"not yet valid":  {ca.issue("new", testCert{names: []string{"n1"}, from: soon}), "not valid before " + stamp(soon)},
		"unknown ca":     {swap(other.node("n1"), func(f *TLSFiles) { f.CA = good.CA }), `it was issued by "theirs"`},
		"server only":    {ca.issue("srv", testCert{names: []string{"n1"}, uses: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "not for both client and server use"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewTLS("n1", tc.files, testLog("n1"))
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := NewTLS("n1", ca.issue("cn", testCert{commonName: "n1"}), testLog("n1"))
	require.NoError(t, err, "the common name counts too")
}

func openMux(t *testing.T, s Secure, who directory) *mux {
	m, err := listen("127.0.0.1:0", nil, s, who, testLog("mux"))
	require.NoError(t, err)
	t.Cleanup(m.close)
	return inCluster(m, "0123456789abcdef")
}

// inCluster makes m speak raft: only members of one cluster do.
func inCluster(m *mux, id string) *mux {
	m.cluster.Store(&id)
	return m
}

// ask dials name at the mux's port and waits for the word of the other side:
// it answers one byte on connections that it has let in.
func ask(t *testing.T, by Secure, at *mux, name string) error {
	who := names{name: at.ln.Addr().String()}
	from := inCluster(&mux{secure: by, who: who}, *at.cluster.Load())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	begun := time.Now()
	c, err := from.dial(ctx, at.ln.Addr().String(), protoRaft)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write([]byte("hello"))
		_, err = c.Read(make([]byte, 1))
	}
	require.Less(t, time.Since(begun), 4*time.Second, "bounded")
	return err
}

func answerAll(m *mux) {
	for {
		select {
		case c := <-m.raft:
			_, _ = io.ReadFull(c, make([]byte, len("hello")))
			_, _ = c.Write([]byte{'!'})
			c.Close()
		case <-m.stop:
			return
		}
	}
}

func TestWhoIsRefusedAndWhatBothAreTold(t *testing.T) {
	ca, other := newTestCA(t, "ours"), newTestCA(t, "theirs")
	past := time.Now().Add(-time.Minute)
	expired := func() Secure {
		return withCert(t, ca.secure("n2"), ca.issue("expired", testCert{names: []string{"n2"}, to: past}))
	}
	for name, tc := range map[string]struct {
		server Secure
		client Secure
		meant  string
		told   string // what the dialling side learns; "" = let in
		shown  string // the refusal that the other side shows; "" = none
	}{
		"let in":               {server: ca.secure("n1"), client: ca.secure("n2"), meant: "n1"},
		"both insecure":        {server: Insecure{}, client: Insecure{}, meant: "n1"},
		"another node answers": {ca.secure("n3"), ca.secure("n2"), "n1", "wrong name: its certificate is for n3, not for n1", "it refuses the name in this node's certificate"},
		"nobody is meant":      {ca.secure("n1"), ca.secure("n2"), "", "no node of the cluster has this address", ""},
		"no node of ours":      {ca.secure("n1"), ca.secure("n9"), "n1", "it refuses the name in this node's certificate", "its certificate is for n9, which is no node of this cluster"},
		"expired client":       {ca.secure("n1"), expired(), "n1", "it says that this node's certificate or its CA has expired", "its certificate expired on " + stamp(past)},
		"expired server":       {expired(), ca.secure("n1"), "n2", "its certificate expired on " + stamp(past), "it refuses"},
		"client of another CA": {ca.secure("n1"), withCert(t, ca.secure("n2"), other.node("n2")), "n1", "it does not know the CA of this node's certificate", `unknown CA: its certificate was issued by "theirs"`},
		"server of another CA": {withCert(t, ca.secure("n1"), other.node("n1")), ca.secure("n2"), "n1", `unknown CA: its certificate was issued by "theirs"`, "it refuses"},
		"no certificate":       {ca.secure("n1"), rawTLS{&tls.Config{InsecureSkipVerify: true}}, "n1", "certificate required", "it has no certificate"},
		"TLS 1.2":              {ca.secure("n1"), rawTLS{&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}, "n1", "protocol version not supported", "it offers no TLS 1.3"},
		"plaintext to TLS":     {ca.secure("n1"), Insecure{}, "n1", "EOF", "it speaks plaintext to this TLS port"},
		"TLS to plaintext":     {Insecure{}, ca.secure("n2"), "n1", "it ends the TLS handshake", "it speaks TLS to this insecure port"},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMux(t, tc.server, names{"n1": "", "n2": "", "n3": ""})
			go answerAll(m)
			for range 2 {
				err := ask(t, tc.client, m, tc.meant)
				if tc.told == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tc.told)
				}
			}
			if tc.shown == "" {
				require.Empty(t, m.refused.list())
				return
			}
			eventually(t, "both tries are in the book", func() bool {
				l := m.refused.list()
				return len(l) == 1 && l[0].Times == 2
			})
			r := m.refused.list()[0]
			require.Contains(t, r.Reason, tc.shown)
			require.Equal(t, "127.0.0.1", r.From)
		})
	}
}

// rawTLS is a client that keeps to none of our rules.
type rawTLS struct{ conf *tls.Config }

func (r rawTLS) Server(c net.Conn) (net.Conn, error) { return c, nil }

func (r rawTLS) Client(ctx context.Context, c net.Conn, _ string) (net.Conn, error) {
	t := tls.Client(c, r.conf)
	return t, t.HandshakeContext(ctx)
}

func TestCertificatesAreReadAgain(t *testing.T) {
	ca, other := newTestCA(t, "ours"), newTestCA(t, "theirs")
	server, client := ca.secure("n1"), ca.secure("n2")
	m := openMux(t, server, names{"n1": "", "n2": ""})
	go answerAll(m)
	require.NoError(t, ask(t, client, m, "n1"))
	serial := func() string { return server.files.current().cert.Leaf.SerialNumber.String() }
	first := serial()

	// Broken files: the old ones stay.
	f := server.files.paths
	require.NoError(t, os.WriteFile(f.Cert, []byte("half a certific"), 0o600))
	require.Equal(t, first, serial())
	ca.issue("n1", testCert{names: []string{"n3"}})
	require.Equal(t, first, serial(), "another node's certificate")
	require.NoError(t, os.Remove(f.Key))
	require.Equal(t, first, serial())
	require.NoError(t, ask(t, client, m, "n1"))

	ca.node("n1")
	require.NotEqual(t, first, serial(), "a new one is used")
	require.NotEqual(t, first, serial(), "and stays")
	require.NoError(t, ask(t, client, m, "n1"))

	// Another CA: at once the old certificates are nobody's.
	copyFile(t, other.node("n1").Cert, f.Cert)
	copyFile(t, other.path("n1-key.pem"), f.Key)
	copyFile(t, other.path("ca.pem"), f.CA)
	require.ErrorContains(t, ask(t, client, m, "n1"), "unknown CA")
}

func TestCertificatesAreLookedAtOnceASecond(t *testing.T) {
	ca := newTestCA(t, "ours")
	s, err := NewTLS("n1", ca.node("n1"), testLog("n1"))
	require.NoError(t, err)
	first := s.files.current()
	ca.node("n1")
	require.Same(t, first, s.files.current())
	s.files.looked = time.Now().Add(-lookEvery)
	require.NotSame(t, first, s.files.current())
}

func TestNoSessionIsResumed(t *testing.T) {
	ca := newTestCA(t, "ours")
	m := openMux(t, ca.secure("n1"), names{"n1": "", "n2": ""})
	go answerAll(m)
	f := ca.node("n2")
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for range 3 {
		c, err := tls.Dial("tcp", m.ln.Addr().String(), conf)
		require.NoError(t, err)
		_, err = c.Write([]byte("Rhello"))
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.NoError(t, err)
		require.False(t, c.ConnectionState().DidResume)
		c.Close()
	}
}

func copyFile(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to+".new", b, 0o600))
	require.NoError(t, os.Rename(to+".new", to))
}

// The book of refusals is bounded, whoever knocks.
func TestRefusalsAreBounded(t *testing.T) {
	r := &refusals{log: testLog("n1")}
	for i := range 3 * maxRefusals {
		r.note(net.IPv4(10, 0, 0, byte(i)).String(), "", os.ErrPermission)
	}
	require.Len(t, r.list(), maxRefusals)
	require.Equal(t, "10.0.0.95", r.list()[maxRefusals-1].From, "the newest stay")
	r.note("10.0.0.9", "", io.EOF)
	require.Len(t, r.list(), maxRefusals, "who says nothing is not shown")
	r.note("10.0.1.1", "n2", os.ErrPermission)
	r.settled([]string{"n2"})
	require.Len(t, r.list(), maxRefusals-1)
}

// FuzzPreamble throws bytes at the port, with TLS and without: whatever comes,
// the answer is a connection or an error, and it comes in time.
func FuzzPreamble(f *testing.F) {
	hello := []byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3}
	for _, b := range [][]byte{{}, {protoRaft}, {protoHTTP, 'G'}, {0}, []byte("GET / HTTP/1.1\r\n\r\n"), hello, append(hello, make([]byte, 1<<15)...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ca := fuzzCA(t)
		for _, s := range []Secure{Insecure{}, ca} {
			m := &mux{secure: s, log: testLog("fuzz")}
			ours, theirs := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = theirs.Write(b)
				theirs.Close()
			}()
			begun := time.Now()
			c, proto, err := m.preamble(ours)
			if err == nil {
				require.Contains(t, []byte{protoRaft, protoHTTP}, proto)
				require.Equal(t, Insecure{}, s, "no bytes of a fuzzer are a handshake")
				c.Close()
			}
			ours.Close()
			require.Less(t, time.Since(begun), preambleTimeout+time.Second)
		}
	})
}

var fuzzTLS *TLS

func fuzzCA(t *testing.T) *TLS {
	if fuzzTLS == nil {
		fuzzTLS = newTestCA(t, "fuzz").secure("n1")
		fuzzTLS.files.every = time.Hour // its files go with the first input
	}
	return fuzzTLS
}

// Silence is bounded too.
func TestSilentConnectionIsDropped(t *testing.T) {
	m := openMux(t, newTestCA(t, "ours").secure("n1"), names{"n1": ""})
	c, err := net.Dial("tcp", m.ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(preambleTimeout+3*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Empty(t, m.refused.list())
}

// A node that is neither configured nor a member is reached by the name that the
// caller means.
func TestDialByMeaning(t *testing.T) {
	ca := newTestCA(t, "ours")
	m := openMux(t, ca.secure("n1"), names{"n2": ""})
	go answerAll(m)
	from := inCluster(&mux{secure: ca.secure("n2"), who: names{}}, *m.cluster.Load())
	dial := func(ctx context.Context) error {
		c, err := from.dial(ctx, m.ln.Addr().String(), protoRaft)
		if err == nil {
			c.Close()
		}
		return err
	}
	require.ErrorContains(t, dial(t.Context()), "no node of the cluster has this address")
	require.ErrorContains(t, dial(meaning(t.Context(), "n3")), "wrong name")
	require.NoError(t, dial(meaning(t.Context(), "n1")))

	peers := newPeerClient(from)
	defer peers.close()
	_, err := peers.state(t.Context(), m.ln.Addr().String())
	require.ErrorContains(t, err, "no node of the cluster has this address")
	ctx, cancel := context.WithTimeout(meaning(t.Context(), "n3"), 2*time.Second)
	defer cancel()
	_, err = peers.state(ctx, m.ln.Addr().String())
	require.ErrorContains(t, err, "wrong name: its certificate is for n1, not for n3")
}

// BenchmarkHandshake is a connection from its dial to its first answer, with
// the work of both sides.
func BenchmarkHandshake(b *testing.B) {
	ca := newTestCA(b, "ours")
	for name, s := range map[string][2]Secure{
		"tls":      {ca.secure("n1"), ca.secure("n2")},
		"insecure": {Insecure{}, Insecure{}},
	} {
		b.Run(name, func(b *testing.B) {
			m, err := listen("127.0.0.1:0", nil, s[0], names{"n2": ""}, testLog("mux"))
			require.NoError(b, err)
			defer m.close()
			go answerAll(inCluster(m, "0123456789abcdef"))
			from := inCluster(&mux{secure: s[1], who: names{"n1": m.ln.Addr().String()}}, "0123456789abcdef")
			for b.Loop() {
				c, err := from.dial(b.Context(), m.ln.Addr().String(), protoRaft)
				require.NoError(b, err)
				_, _ = c.Write([]byte("hello"))
				_, err = c.Read(make([]byte, 1))
				require.NoError(b, err)
				c.Close()
			}
		})
	}
}
