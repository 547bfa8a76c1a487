package pgfox_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

type source = iter.Seq2[*pgfoxv1.Document, error]

// numbered is a source of documents with the ids 0, 1, 2, ...
func numbered(count int) source {
	return func(yield func(*pgfoxv1.Document, error) bool) {
		for i := range count {
			if !yield(&pgfoxv1.Document{Id: fmt.Sprint(i)}, nil) {
				return
			}
		}
	}
}

// ingestAll checks that IngestAll leaves no goroutine.
func ingestAll(
	ctx context.Context, t *testing.T, client *pgfox.Client, documents source, options *pgfox.IngestOptions,
) (pgfox.IngestTotals, error) {
	// The connection stays, and so does its goroutine.
	_, err := client.GetCollection(t.Context(), &pgfoxv1.GetCollectionRequest{})
	failed(t, err, codes.Unimplemented)
	before := runtime.NumGoroutine()
	totals, err := client.IngestAll(ctx, "c", documents, options)
	noneLeft(t, before)
	return totals, err
}

// acknowledgement acknowledges a request whose documents are all new.
func acknowledgement(request *pgfoxv1.IngestRequest) *pgfoxv1.IngestResponse {
	return &pgfoxv1.IngestResponse{Sequence: request.GetSequence(), UpsertedCount: int32(len(request.GetDocuments()))}
}

// acknowledgeAll is what a working server does.
func acknowledgeAll(stream ingestServer) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(acknowledgement(request)); err != nil {
			return err
		}
	}
}

func TestRequestsAreBoundedByCountAndBytes(t *testing.T) {
	var sizes []int
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error {
		for {
			request, err := stream.Recv()
			if err != nil {
				return nil
			}
			sizes = append(sizes, len(request.GetDocuments()))
			if request.GetSequence() != int64(len(sizes)) || request.GetCollection() != "c" || !request.GetOnlyIfAbsent() {
				return failure(codes.InvalidArgument, fmt.Sprint(request))
			}
			if err := stream.Send(acknowledgement(request)); err != nil {
				return err
			}
		}
	}})
	options := &pgfox.IngestOptions{DocumentsPerRequest: 4, BytesPerRequest: 1000, OnlyIfAbsent: true}
	mixed := func(yield func(*pgfoxv1.Document) bool) {
		for i, bytes := range []int{10, 2000, 10, 600, 600, 10, 1, 1, 1, 1} {
			if !yield(&pgfoxv1.Document{Id: fmt.Sprint(i), Text: strings.Repeat("x", bytes)}) {
				return
			}
		}
	}
	totals, err := ingestAll(t.Context(), t, client, pgfox.Documents(mixed), options)
	if err != nil || totals != (pgfox.IngestTotals{Documents: 10, Upserted: 10}) {
		t.Fatal(totals, err)
	}
	if !slices.Equal(sizes, []int{1, 1, 2, 4, 2}) {
		t.Fatal(sizes)
	}
}

func TestNothingToIngest(t *testing.T) {
	server := &standIn{}
	client := connect(t, server)
	totals, err := ingestAll(t.Context(), t, client, numbered(0), nil)
	if err != nil || totals != (pgfox.IngestTotals{}) || server.calls.Load() != 0 {
		t.Fatal(totals, err)
	}
}

func TestTheSourceIsNotReadAhead(t *testing.T) {
	const perRequest, inFlight = 10, 3
	var read, acknowledged atomic.Int64
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error {
		for {
			request, err := stream.Recv()
			if err != nil {
				return nil
			}
			// Time to read ahead, if it did.
			time.Sleep(5 * time.Millisecond)
			if ahead := read.Load() - acknowledged.Load(); ahead > (inFlight+2)*perRequest {
				return failure(codes.InvalidArgument, fmt.Sprintf("%d documents ahead", ahead))
			}
			acknowledged.Add(int64(len(request.GetDocuments())))
			if err := stream.Send(acknowledgement(request)); err != nil {
				return err
			}
		}
	}})
	counted := func(yield func(*pgfoxv1.Document, error) bool) {
		for document, err := range numbered(500) {
			read.Add(1)
			if !yield(document, err) {
				return
			}
		}
	}
	options := &pgfox.IngestOptions{DocumentsPerRequest: perRequest, RequestsInFlight: inFlight}
	if totals, err := ingestAll(t.Context(), t, client, counted, options); err != nil || totals.Documents != 500 {
		t.Fatal(totals, err)
	}
}

func TestWhatWasNotAcknowledgedIsSentAgain(t *testing.T) {
	for name, ending := range map[string]error{
		"unavailable":           unavailable(),
		"busy":                  busy(time.Millisecond),
		"cancelled on its way":  failure(codes.Canceled, "reset"),
		"ended without status":  nil,
		"reset of the stream":   failure(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR"),
		"ended without trailer": failure(codes.Internal, "server closed the stream without sending trailers"),
	} {
		t.Run(name, func(t *testing.T) {
			var sequences []int64
			var ids []string
			client := connect(t, &standIn{ingestStream: func(stream ingestServer, call int) error {
				for i := range 3 {
					request, err := stream.Recv()
					if err != nil {
						return nil
					}
					// The third request is stored but not acknowledged.
					sequences = append(sequences, request.GetSequence())
					for _, document := range request.GetDocuments() {
						ids = append(ids, document.GetId())
					}
					if i == 2 && call <= 2 {
						break
					}
					if err := stream.Send(acknowledgement(request)); err != nil {
						return err
					}
				}
				if call <= 2 {
					return ending
				}
				return acknowledgeAll(stream)
			}})
			interruptions := 0
			options := &pgfox.IngestOptions{DocumentsPerRequest: 2, OnInterrupted: func(err error, pause time.Duration) {
				interruptions++
				if err == nil || pause <= 0 {
					t.Error(err, pause)
				}
			}}
			totals, err := ingestAll(t.Context(), t, client, numbered(14), options)
			if err != nil || totals.Documents != 14 || interruptions != 2 {
				t.Fatal(totals, err, interruptions)
			}
			if !slices.Equal(sequences, []int64{1, 2, 3, 3, 4, 5, 5, 6, 7}) {
				t.Fatal(sequences)
			}
			if expected := strings.Split("0 1 2 3 4 5 4 5 6 7 8 9 8 9 10 11 12 13", " "); !slices.Equal(ids, expected) {
				t.Fatal(ids)
			}
		})
	}
}

func TestSkippedDocumentsAreToldWithTheirPosition(t *testing.T) {
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error {
		for {
			request, err := stream.Recv()
			if err != nil {
				return nil
			}
			if !request.GetSkipInvalid() {
				return failure(codes.InvalidArgument, "skip_invalid is not set")
			}
			if err := stream.Send(&pgfoxv1.IngestResponse{
				Sequence:         request.GetSequence(),
				UpsertedCount:    2,
				UpdatedCount:     1,
				UnchangedCount:   3,
				SkippedCount:     4,
				EmbeddedCount:    5,
				TruncatedCount:   6,
				UnembeddedCount:  7,
				FullTextCutCount: 8,
				Usage:            &pgfoxv1.Usage{Tokens: 9},
				Errors: []*pgfoxv1.DocumentError{{
					Index: 1, Id: "x", Reason: pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD, Message: "bad",
				}},
			}); err != nil {
				return err
			}
		}
	}})
	var positions []int64
	var heard pgfox.IngestTotals
	options := &pgfox.IngestOptions{
		DocumentsPerRequest: 3,
		SkipInvalid:         true,
		OnAcknowledged: func(totals pgfox.IngestTotals, skipped []pgfox.SkippedDocument) {
			heard = totals
			for _, one := range skipped {
				positions = append(positions, one.Position)
				if one.ID != "x" || one.Message != "bad" || one.Reason != pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD {
					t.Error(one)
				}
			}
		},
	}
	totals, err := ingestAll(t.Context(), t, client, numbered(9), options)
	if err != nil || !slices.Equal(positions, []int64{1, 4, 7}) {
		t.Fatal(err, positions)
	}
	expected := pgfox.IngestTotals{
		Documents: 9, Upserted: 6, Updated: 3, Unchanged: 9, Skipped: 3, Existing: 12, Embedded: 15, Truncated: 18,
		Unembedded: 21, FullTextCut: 24, Tokens: 27,
	}
	if totals != expected || heard != expected {
		t.Fatalf("%+v %+v", totals, heard)
	}
}

func TestOptionsOutsideTheirRangeAreRefusedBeforeAnyRequest(t *testing.T) {
	server := &standIn{}
	client := connect(t, server)
	const long = 24*time.Hour + time.Second
	for _, refused := range []struct {
		options pgfox.IngestOptions
		message string
	}{
		{pgfox.IngestOptions{DocumentsPerRequest: -1}, "DocumentsPerRequest must be 1 to 1000, or 0 for the default, not -1"},
		{pgfox.IngestOptions{DocumentsPerRequest: 1001}, "DocumentsPerRequest must be 1 to 1000, or 0 for the default, not 1001"},
		{pgfox.IngestOptions{BytesPerRequest: -1}, "BytesPerRequest must be 1 to 16711680, or 0 for the default, not -1"},
		{pgfox.IngestOptions{BytesPerRequest: 16 << 20}, "BytesPerRequest must be 1 to 16711680, or 0 for the default, not 16777216"},
		{pgfox.IngestOptions{RequestsInFlight: -1}, "RequestsInFlight must be 1 to 100, or 0 for the default, not -1"},
		{pgfox.IngestOptions{RequestsInFlight: 101}, "RequestsInFlight must be 1 to 100, or 0 for the default, not 101"},
		{
			pgfox.IngestOptions{AcknowledgeTimeout: -1},
			"AcknowledgeTimeout must be above 0 and at most 24h0m0s, or 0 for the default, not -1ns",
		},
		{
			pgfox.IngestOptions{AcknowledgeTimeout: long},
			"AcknowledgeTimeout must be above 0 and at most 24h0m0s, or 0 for the default, not 24h0m1s",
		},
		{
			pgfox.IngestOptions{RetryTimeout: -1},
			"RetryTimeout must be above 0 and at most 24h0m0s, or 0 for the default, not -1ns",
		},
		{
			pgfox.IngestOptions{RetryTimeout: long},
			"RetryTimeout must be above 0 and at most 24h0m0s, or 0 for the default, not 24h0m1s",
		},
	} {
		unread := func(func(*pgfoxv1.Document, error) bool) { t.Error("the source was read: ", refused.message) }
		_, err := ingestAll(t.Context(), t, client, unread, &refused.options)
		failure := failed(t, err, codes.InvalidArgument)
		if failure.Message != refused.message || !strings.HasPrefix(failure.Message, failure.Violations[0].Field+" must be ") {
			t.Error(failure)
		}
	}
	_, err := client.IngestAll(t.Context(), "\xff", numbered(1), nil)
	failed(t, err, codes.InvalidArgument)
	if server.calls.Load() != 0 {
		t.Error(server.calls.Load(), " calls")
	}
}

func TestOptionsAtTheEndsOfTheirRange(t *testing.T) {
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }})
	totals, err := ingestAll(t.Context(), t, client, numbered(1), &pgfox.IngestOptions{
		DocumentsPerRequest: 1000, BytesPerRequest: 16<<20 - 64<<10, RequestsInFlight: 100,
		AcknowledgeTimeout: 24 * time.Hour, RetryTimeout: time.Nanosecond,
	})
	if err != nil || totals.Documents != 1 {
		t.Fatal(totals, err)
	}
}
