package pgfox_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

func search(ctx context.Context, client *pgfox.Client) (*pgfoxv1.SearchResponse, error) {
	return client.Search(ctx, &pgfoxv1.SearchRequest{Collection: "c"})
}

// failed checks that err is an *pgfox.Error with the code.
func failed(t *testing.T, err error, code codes.Code) *pgfox.Error {
	t.Helper()
	var failure *pgfox.Error
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("expected %v, not %v", code, err)
	}
	return failure
}

func TestDeadlineUnlessTheContextHasOne(t *testing.T) {
	var remaining []time.Duration
	client := connect(t, &standIn{search: func(ctx context.Context, _ int) (*pgfoxv1.SearchResponse, error) {
		deadline, _ := ctx.Deadline()
		remaining = append(remaining, time.Until(deadline).Round(time.Second))
		return &pgfoxv1.SearchResponse{}, nil
	}}, pgfox.WithTimeout(7*time.Second))
	own, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, ctx := range []context.Context{t.Context(), own} {
		if _, err := search(ctx, client); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(remaining, []time.Duration{7 * time.Second, time.Minute}) {
		t.Fatal(remaining)
	}
}

func TestAPassedDeadlineIsThatOfAContext(t *testing.T) {
	client := connect(t, &standIn{search: func(ctx context.Context, _ int) (*pgfoxv1.SearchResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, pgfox.WithTimeout(50*time.Millisecond))
	_, err := search(t.Context(), client)
	failed(t, err, codes.DeadlineExceeded)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestUnavailableIsRepeated(t *testing.T) {
	server := &standIn{search: func(_ context.Context, call int) (*pgfoxv1.SearchResponse, error) {
		if call < 3 {
			return nil, unavailable()
		}
		return &pgfoxv1.SearchResponse{Completeness: pgfoxv1.Completeness_COMPLETENESS_EXACT}, nil
	}}
	client := connect(t, server)
	began := time.Now()
	found, err := search(t.Context(), client)
	if err != nil || found.GetCompleteness() != pgfoxv1.Completeness_COMPLETENESS_EXACT || server.calls.Load() != 3 {
		t.Fatal(found, err, server.calls.Load())
	}
	// At least half of 100 and 200 ms.
	if took := time.Since(began); took < 150*time.Millisecond || took > 2*time.Second {
		t.Fatal(took)
	}
}

func TestTheServerMayAskForALongerPause(t *testing.T) {
	server := &standIn{search: func(_ context.Context, call int) (*pgfoxv1.SearchResponse, error) {
		if call == 1 {
			return nil, busy(400 * time.Millisecond)
		}
		return &pgfoxv1.SearchResponse{}, nil
	}}
	client := connect(t, server)
	began := time.Now()
	if _, err := search(t.Context(), client); err != nil || time.Since(began) < 400*time.Millisecond {
		t.Fatal(err, time.Since(began))
	}
}

func TestAPauseBeyondTheDeadlineIsNotBegun(t *testing.T) {
	server := &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
		return nil, busy(time.Minute)
	}}
	client := connect(t, server, pgfox.WithTimeout(2*time.Second))
	began := time.Now()
	_, err := search(t.Context(), client)
	failure := failed(t, err, codes.ResourceExhausted)
	if failure.RetryDelay != time.Minute || server.calls.Load() != 1 || time.Since(began) > time.Second {
		t.Fatal(failure, server.calls.Load(), time.Since(began))
	}
}

func TestRetriesEndWithTheDeadline(t *testing.T) {
	server := &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
		return nil, unavailable()
	}}
	client := connect(t, server, pgfox.WithTimeout(time.Second))
	began := time.Now()
	_, err := search(t.Context(), client)
	failure := failed(t, err, codes.Unavailable)
	if took := time.Since(began); took > 1200*time.Millisecond || server.calls.Load() < 3 {
		t.Fatal(took, server.calls.Load())
	}
	if !strings.Contains(failure.Error(), "restarting (") || !strings.Contains(failure.Error(), " attempts in ") {
		t.Fatal(failure)
	}
}

func TestWhatIsNotRepeated(t *testing.T) {
	none := func(t *testing.T, err error, options ...pgfox.Option) {
		server := &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) { return nil, err }}
		client := connect(t, server, options...)
		if _, err := search(t.Context(), client); err == nil || server.calls.Load() != 1 {
			t.Fatal(err, server.calls.Load())
		}
	}
	t.Run("WithoutRetry", func(t *testing.T) { none(t, unavailable(), pgfox.WithoutRetry()) })
	t.Run("a quota", func(t *testing.T) { none(t, failure(codes.ResourceExhausted, "quota")) })
	t.Run("a bad request", func(t *testing.T) { none(t, failure(codes.InvalidArgument, "bad")) })
	t.Run("a defect", func(t *testing.T) { none(t, failure(codes.Internal, "defect")) })
	for name, call := range map[string]func(context.Context, *pgfox.Client) error{
		"CreateCollection": func(ctx context.Context, client *pgfox.Client) error {
			_, err := client.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{})
			return err
		},
		"DeleteCollection": func(ctx context.Context, client *pgfox.Client) error {
			_, err := client.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{})
			return err
		},
		"DropIndex": func(ctx context.Context, client *pgfox.Client) error {
			_, err := client.DropIndex(ctx, &pgfoxv1.DropIndexRequest{})
			return err
		},
		"Ingest with versions": func(ctx context.Context, client *pgfox.Client) error {
			_, err := client.Ingest(ctx, &pgfoxv1.IngestRequest{IfVersion: map[string]int64{"a": 1}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := &standIn{}
			client := connect(t, server)
			failed(t, call(t.Context(), client), codes.Unavailable)
			if server.calls.Load() != 1 {
				t.Fatal(server.calls.Load())
			}
		})
	}
	t.Run("but Ingest is", func(t *testing.T) {
		server := &standIn{}
		client := connect(t, server)
		if _, err := client.Ingest(t.Context(), &pgfoxv1.IngestRequest{}); err != nil || server.calls.Load() != 2 {
			t.Fatal(err, server.calls.Load())
		}
	})
}

func TestACancelledPauseEndsAtOnce(t *testing.T) {
	client := connect(t, &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
		return nil, busy(20 * time.Second)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	began := time.Now()
	_, err := search(ctx, client)
	failed(t, err, codes.Canceled)
	if !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Fatal(err, time.Since(began))
	}
}

func TestErrorsSayAllThatTheServerSays(t *testing.T) {
	client := connect(t, &standIn{search: func(ctx context.Context, _ int) (*pgfoxv1.SearchResponse, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-request-id", "r-1"))
		return nil, failure(codes.InvalidArgument, "limit must not be negative (and 1 more; the details name them)",
			&errdetails.ErrorInfo{Domain: "pgfox", Reason: "INVALID_FIELD", Metadata: map[string]string{"a": "b"}},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "limit", Description: "must not be negative"},
				{Field: "collection", Description: "must be a name"},
			}})
	}})
	_, err := search(t.Context(), client)
	failure := failed(t, err, codes.InvalidArgument)
	if failure.Reason != pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD || failure.Metadata["a"] != "b" || failure.RequestID != "r-1" {
		t.Fatalf("%+v", failure)
	}
	if !slices.Equal(failure.Violations, []pgfox.Violation{{"limit", "must not be negative"}, {"collection", "must be a name"}}) {
		t.Fatal(failure.Violations)
	}
	if text := "pgfox: InvalidArgument INVALID_FIELD: limit must not be negative; collection must be a name"; err.Error() != text {
		t.Fatal(err)
	}
	if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) != 2 {
		t.Fatal(status.Convert(err))
	}
}

func TestForeignErrorsHaveNoReason(t *testing.T) {
	client := connect(t, &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
		return nil, failure(codes.Internal, "no", &errdetails.ErrorInfo{Domain: "other.example", Reason: "INTERNAL"})
	}})
	_, err := search(t.Context(), client)
	if failure := failed(t, err, codes.Internal); failure.Reason != pgfoxv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		t.Fatal(failure)
	}
}

func TestAStringThatCannotBeSentIsNamed(t *testing.T) {
	client := connect(t, &standIn{})
	_, err := client.Ingest(t.Context(), &pgfoxv1.IngestRequest{Documents: []*pgfoxv1.Document{{}, {Text: "a\xff"}}})
	failure := failed(t, err, codes.InvalidArgument)
	if !slices.Equal(failure.Violations, []pgfox.Violation{{"documents[1].text", "must be UTF-8"}}) {
		t.Fatal(failure)
	}
}

func TestTheAPIKeyIsSentOverPlaintextToo(t *testing.T) {
	var keys []string
	note := func(ctx context.Context) {
		received, _ := metadata.FromIncomingContext(ctx)
		keys = append(keys, received.Get("authorization")...)
	}
	client := connect(t, &standIn{
		search: func(ctx context.Context, _ int) (*pgfoxv1.SearchResponse, error) {
			note(ctx)
			return &pgfoxv1.SearchResponse{}, nil
		},
		ingestStream: func(stream ingestServer, _ int) error {
			note(stream.Context())
			return acknowledgeAll(stream)
		},
	}, pgfox.WithAPIKey(" s3cret\n"))
	if _, err := search(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, err := client.IngestAll(t.Context(), "c", numbered(1), nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(keys, []string{"Bearer s3cret", "Bearer s3cret"}) {
		t.Fatal(keys)
	}
}

// checkedHealth is a health service that is busy at the first call.
type checkedHealth struct {
	healthpb.UnimplementedHealthServer
	calls    int
	key      []string
	deadline time.Duration
}

func (h *checkedHealth) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if h.calls++; h.calls == 1 {
		return nil, busy(time.Millisecond)
	}
	received, _ := metadata.FromIncomingContext(ctx)
	deadline, _ := ctx.Deadline()
	h.key, h.deadline = received.Get("authorization"), time.Until(deadline).Round(time.Second)
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func TestOtherStubsCallAsTheClientDoes(t *testing.T) {
	health := &checkedHealth{}
	client := connect(t, &standIn{health: health}, pgfox.WithAPIKey("s3cret"), pgfox.WithTimeout(7*time.Second))
	stub := healthpb.NewHealthClient(client.Conn())
	answer, err := stub.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatal(answer, err)
	}
	if health.calls != 2 || !slices.Equal(health.key, []string{"Bearer s3cret"}) || health.deadline != 7*time.Second {
		t.Fatal(health)
	}
	_, err = stub.List(t.Context(), &healthpb.HealthListRequest{})
	failed(t, err, codes.Unimplemented)
}

func TestMessagesMayBeLarge(t *testing.T) {
	client := connect(t, &standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
		text := strings.Repeat("x", 16<<20)
		return &pgfoxv1.SearchResponse{Results: []*pgfoxv1.SearchResult{{Document: &pgfoxv1.Document{Text: text}}}}, nil
	}})
	if _, err := search(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatIsNotThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	client, err := pgfox.Connect(address, pgfox.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	began := time.Now()
	_, err = search(t.Context(), client)
	text := failed(t, err, codes.Unavailable).Error()
	if !strings.Contains(text, "no answer from http://"+address) || !strings.Contains(text, "attempts") {
		t.Fatal(text)
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Fatal(took)
	}

	// It starts while it is called.
	time.AfterFunc(500*time.Millisecond, func() {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(serve(&standIn{search: func(context.Context, int) (*pgfoxv1.SearchResponse, error) {
			return &pgfoxv1.SearchResponse{}, nil
		}}, listener))
	})
	patient, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := search(patient, client); err != nil {
		t.Fatal(err)
	}
}

func TestAClientMayBeClosedTwice(t *testing.T) {
	client, err := pgfox.Connect("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := search(t.Context(), client); errors.Is(err, context.Canceled) {
		t.Error("closing is not the end of the context: ", err)
	}
}
