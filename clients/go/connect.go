// Package pgfox calls a pgfox server: semantic search on PostgreSQL and pgvector.
// [Connect] returns a [Client]: the generated stub of package pgfoxv1, with TLS, an API key, a deadline, retries and
// readable errors ([Error]). [Client.IngestAll] streams any number of documents and resumes if the connection breaks.
// [Field] begins a filter, [NewMetadata] and [MetadataMap] convert metadata, and [Client.AllDocuments] reads all pages.
package pgfox

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// Version of this package, which is sent to the server in the user agent.
const Version = "0.1.0"

// DefaultEndpoint is the address of a server with default settings.
const DefaultEndpoint = "127.0.0.1:50051"

// DefaultTimeout is the deadline of calls whose context has none; see [WithTimeout].
const DefaultTimeout = 30 * time.Second

// MaxTimeout is the maximum value of every timeout option, here and in [IngestOptions]: one day.
const MaxTimeout = 24 * time.Hour

// MaxMessageBytes is the maximum size of a message, both ways: the server's limit of 16 MiB and a little for its frame.
const MaxMessageBytes = 16<<20 + 64<<10

const (
	// The interval of pings, which detect a server that vanished without closing the connection, and the maximum time for
	// an answer.
	keepaliveInterval = 20 * time.Second
	keepaliveTimeout  = 10 * time.Second
	// Maximum time to connect to one address.
	connectTimeout = 10 * time.Second
)

// Client is a connection to pgfox: the generated stub, and [Client.IngestAll]. It connects at the first call and
// reconnects when necessary. Any number of goroutines may use it.
type Client struct {
	pgfoxv1.PgfoxServiceClient
	conn *grpc.ClientConn
}

// Close ends the connection and the calls that run over it. Closing again does nothing, so that it may be deferred too.
func (c *Client) Close() error {
	// The error of gRPC for a connection that is already closed.
	if err := c.conn.Close(); status.Code(err) != codes.Canceled {
		return err
	}
	return nil
}

// Conn returns the connection, for other generated stubs, such as that of grpc.health.v1. They call as this client
// does: with its TLS, API key, deadline, errors and retries. So each of their unary calls may be made more than once,
// unless [WithoutRetry] is set. [Client.Close] ends the connection for all of them.
func (c *Client) Conn() grpc.ClientConnInterface {
	return c.conn
}

// Option changes how [Connect] connects.
type Option func(*options)

type options struct {
	apiKey  string
	ca      []byte
	timeout time.Duration
	retry   bool
	dial    []grpc.DialOption
}

// WithAPIKey sends the key as `authorization: Bearer <key>` with every call, even to an http:// endpoint: use https://
// wherever others can listen. An empty key sends nothing.
func WithAPIKey(key string) Option {
	return func(o *options) { o.apiKey = strings.TrimSpace(key) }
}

// WithCA sets the trusted CA certificates in PEM, and makes https the default scheme of the endpoint. Default: the
// certificates of the system.
func WithCA(pem []byte) Option {
	return func(o *options) { o.ca = pem }
}

// WithTimeout sets the deadline of every call whose context has none, for all attempts together. IngestStream and
// BuildIndex have no deadline, because they last as long as they have something to send. Above 0 and at most
// [MaxTimeout]. Default: [DefaultTimeout].
func WithTimeout(timeout time.Duration) Option {
	return func(o *options) { o.timeout = timeout }
}

// WithoutRetry turns off retries of calls. [Client.IngestAll] still resumes.
func WithoutRetry() Option {
	return func(o *options) { o.retry = false }
}

// WithDialOptions adds options of gRPC, such as interceptors, which see every attempt of a call, or statistics. They
// come after those of this package.
func WithDialOptions(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// Connect returns a client of the server at the endpoint: host:port, http://host:port or https://host:port. Empty:
// [DefaultEndpoint]. Without a scheme it is http, or https with [WithCA]. With a scheme the port may be left out: 80
// for http, 443 for https. If a name has several addresses, calls go to all of them in turn.
//
// It does not wait for the server. An error means that the endpoint or an option is wrong, and says how to write it. If
// the server cannot be reached, the calls fail.
func Connect(endpoint string, opts ...Option) (*Client, error) {
	o := options{timeout: DefaultTimeout, retry: true}
	for _, opt := range opts {
		opt(&o)
	}
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	server, err := parseEndpoint(endpoint, o.ca != nil)
	if err != nil {
		return nil, err
	}
	if o.timeout <= 0 || o.timeout > MaxTimeout {
		return nil, fmt.Errorf("pgfox: the timeout must be above 0 and at most %v, not %v", MaxTimeout, o.timeout)
	}
	security := insecure.NewCredentials()
	if server.Scheme == "https" {
		if security, err = tlsCredentials(o.ca); err != nil {
			return nil, err
		}
	}
	calls := calls{endpoint: server.String(), timeout: o.timeout, retry: o.retry}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithUserAgent("pgfox-go/" + Version),
		grpc.WithChainUnaryInterceptor(calls.unary),
		grpc.WithChainStreamInterceptor(calls.stream),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes),
			grpc.MaxCallSendMsgSize(MaxMessageBytes),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                keepaliveInterval,
			Timeout:             keepaliveTimeout,
			PermitWithoutStream: true,
		}),
		// As quick as the retries of calls. The default backs off to two minutes, during which calls would fail at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minPause, Multiplier: 2, Jitter: 0.25, MaxDelay: maxPause},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		// Settings from the DNS are not wanted, and asking for them delays the first call.
		grpc.WithDisableServiceConfig(),
	}
	if o.apiKey != "" {
		if !isVisibleASCII(o.apiKey) {
			return nil, errors.New("pgfox: the API key may contain only visible ASCII characters")
		}
		dial = append(dial, grpc.WithPerRPCCredentials(bearer(func() string { return o.apiKey })))
	}
	conn, err := grpc.NewClient("dns:///"+server.Host, append(dial, o.dial...)...)
	if err != nil {
		return nil, fmt.Errorf("pgfox: %w", err)
	}
	return &Client{pgfoxv1.NewPgfoxServiceClient(conn), conn}, nil
}

// parseEndpoint returns the endpoint with its scheme and its port.
func parseEndpoint(endpoint string, hasCA bool) (*url.URL, error) {
	invalid := func(reason string) (*url.URL, error) {
		return nil, fmt.Errorf("pgfox: %q is not a server address: %s", endpoint, reason)
	}
	const howToWrite = "write host:port, http://host:port or https://host:port"

	full := strings.TrimSpace(endpoint)
	hasScheme := strings.Contains(full, "://")
	if !hasScheme {
		scheme := "http://"
		if hasCA {
			scheme = "https://"
		}
		full = scheme + full
	}
	server, err := url.Parse(full)
	if err != nil {
		return invalid(howToWrite)
	}
	defaultPort := "80"
	switch {
	case server.Scheme == "https":
		defaultPort = "443"
	case server.Scheme != "http":
		return invalid("the scheme must be http or https")
	case hasCA:
		return invalid("http:// uses no TLS, so the CA would be ignored; write https://")
	}
	host, port := server.Hostname(), server.Port()
	if strings.Count(server.Host, ":") > 1 && !strings.HasPrefix(server.Host, "[") {
		return invalid("write an IPv6 address in brackets, such as [::1]:50051")
	}
	isBare := server.User == nil && strings.TrimSuffix(server.Path, "/") == "" && server.RawQuery == "" && server.Fragment == ""
	if host == "" || strings.HasSuffix(server.Host, ":") || !isBare {
		return invalid(howToWrite)
	}
	switch {
	case port != "":
	case hasScheme:
		port = defaultPort
	default:
		return invalid(howToWrite)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return invalid("the port must be a number from 1 to 65535")
	}
	return &url.URL{Scheme: server.Scheme, Host: net.JoinHostPort(host, port)}, nil
}

func tlsCredentials(ca []byte) (credentials.TransportCredentials, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("pgfox: the CA has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
		}
	}
	return credentials.NewTLS(config), nil
}

func isVisibleASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
