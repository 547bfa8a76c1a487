package pgfox_test

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// standIn is a server that fails in the way that a test asks for. tests/clients/go uses the real one.
type standIn struct {
	pgfoxv1.UnimplementedPgfoxServiceServer
	calls        atomic.Int32
	search       func(ctx context.Context, call int) (*pgfoxv1.SearchResponse, error)
	ingestStream func(stream ingestServer, call int) error
	list         func(context.Context, *pgfoxv1.ListDocumentsRequest) (*pgfoxv1.ListDocumentsResponse, error)
	collections  func(context.Context, *pgfoxv1.ListCollectionsRequest) (*pgfoxv1.ListCollectionsResponse, error)
	// Another service beside this one.
	health healthpb.HealthServer
}

type ingestServer = grpc.BidiStreamingServer[pgfoxv1.IngestRequest, pgfoxv1.IngestResponse]

// Calls are counted from 1.
func (s *standIn) Search(ctx context.Context, _ *pgfoxv1.SearchRequest) (*pgfoxv1.SearchResponse, error) {
	return s.search(ctx, int(s.calls.Add(1)))
}

func (s *standIn) IngestStream(stream ingestServer) error {
	return s.ingestStream(stream, int(s.calls.Add(1)))
}

func (s *standIn) ListDocuments(ctx context.Context, request *pgfoxv1.ListDocumentsRequest) (*pgfoxv1.ListDocumentsResponse, error) {
	s.calls.Add(1)
	return s.list(ctx, request)
}

func (s *standIn) ListCollections(ctx context.Context, request *pgfoxv1.ListCollectionsRequest) (*pgfoxv1.ListCollectionsResponse, error) {
	s.calls.Add(1)
	return s.collections(ctx, request)
}

func (s *standIn) FacetDocuments(context.Context, *pgfoxv1.FacetDocumentsRequest) (*pgfoxv1.FacetDocumentsResponse, error) {
	if s.calls.Add(1) == 1 {
		return nil, unavailable()
	}
	return &pgfoxv1.FacetDocumentsResponse{Values: []*pgfoxv1.FacetValue{{Value: structpb.NewNumberValue(1999), Count: 3}}}, nil
}

func (s *standIn) CreateCollection(context.Context, *pgfoxv1.CreateCollectionRequest) (*pgfoxv1.CreateCollectionResponse, error) {
	s.calls.Add(1)
	return nil, unavailable()
}

func (s *standIn) DeleteCollection(context.Context, *pgfoxv1.DeleteCollectionRequest) (*pgfoxv1.DeleteCollectionResponse, error) {
	s.calls.Add(1)
	return nil, unavailable()
}

func (s *standIn) DropIndex(context.Context, *pgfoxv1.DropIndexRequest) (*pgfoxv1.DropIndexResponse, error) {
	s.calls.Add(1)
	return nil, unavailable()
}

func (s *standIn) Ingest(context.Context, *pgfoxv1.IngestRequest) (*pgfoxv1.IngestResponse, error) {
	if s.calls.Add(1) > 1 {
		return &pgfoxv1.IngestResponse{}, nil
	}
	return nil, unavailable()
}

// connect starts the stand-in and returns a client for it. At the end of the test no goroutine may be left.
func connect(t *testing.T, server *standIn, options ...pgfox.Option) *pgfox.Client {
	t.Helper()
	before := runtime.NumGoroutine()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(server, listener)
	client, err := pgfox.Connect(listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		stop()
		noneLeft(t, before)
	})
	return client
}

// noneLeft checks that there are no more goroutines than before. Goroutines that are ending get a moment.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for began := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func serve(server *standIn, listener net.Listener) (stop func()) {
	grpcServer := grpc.NewServer(grpc.MaxRecvMsgSize(pgfox.MaxMessageBytes), grpc.MaxSendMsgSize(pgfox.MaxMessageBytes))
	pgfoxv1.RegisterPgfoxServiceServer(grpcServer, server)
	if server.health != nil {
		healthpb.RegisterHealthServer(grpcServer, server.health)
	}
	served := make(chan error)
	go func() { served <- grpcServer.Serve(listener) }()
	return func() {
		grpcServer.Stop()
		<-served
	}
}

func unavailable() error {
	return failure(codes.Unavailable, "restarting", &errdetails.ErrorInfo{Domain: "pgfox", Reason: "SHUTTING_DOWN"})
}

func busy(delay time.Duration) error {
	return failure(codes.ResourceExhausted, "busy",
		&errdetails.ErrorInfo{Domain: "pgfox", Reason: "DATABASE_BUSY"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
}

func failure(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return s.Err()
}
