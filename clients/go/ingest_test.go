package pgfox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
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
	// For the connection, which stays.
	_, err := client.GetCollection(t.Context(), &pgfoxv1.GetCollectionRequest{})
	failed(t, err, codes.Unimplemented)
	before := runtime.NumGoroutine()
	totals, err := client.IngestAll(ctx, "c", documents, options)
	noneLeft(t, before)
	return totals, err
}

// acknowledgement of a request, all of whose documents are new.
func acknowledgement(request *pgfoxv1.IngestRequest) *pgfoxv1.IngestResponse {
	return &pgfoxv1.IngestResponse{Sequence: request.GetSequence(), UpsertedCount: int32(len(request.GetDocuments()))}
}

// acknowledgeAll is what a good server does.
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
		"ended without a word":  nil,
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
					// The third request is stored and not acknowledged.
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

func TestGivesUpWhenNothingIsAcknowledgedForLong(t *testing.T) {
	server := &standIn{ingestStream: func(stream ingestServer, call int) error {
		if request, err := stream.Recv(); err == nil && call == 1 {
			_ = stream.Send(acknowledgement(request))
		}
		return unavailable()
	}}
	client := connect(t, server)
	options := &pgfox.IngestOptions{DocumentsPerRequest: 2, RetryTimeout: 500 * time.Millisecond}
	began := time.Now()
	totals, err := ingestAll(t.Context(), t, client, numbered(20), options)
	failure := failed(t, err, codes.Unavailable)
	if failure.Reason != pgfoxv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN || !strings.Contains(failure.Error(), "gave up") {
		t.Fatal(failure)
	}
	if took := time.Since(began); totals.Documents != 2 || server.calls.Load() < 3 || took > time.Second {
		t.Fatal(totals, server.calls.Load(), took)
	}
}

func TestARefusedRequestEndsWithItsReason(t *testing.T) {
	server := &standIn{ingestStream: func(stream ingestServer, _ int) error {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(acknowledgement(request)); err != nil {
			return err
		}
		return failure(codes.InvalidArgument, "documents[1].id is missing",
			&errdetails.ErrorInfo{Domain: "pgfox", Reason: "INVALID_FIELD"},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "documents[1].id"}}})
	}}
	client := connect(t, server)
	totals, err := ingestAll(t.Context(), t, client, numbered(100), &pgfox.IngestOptions{DocumentsPerRequest: 10})
	failure := failed(t, err, codes.InvalidArgument)
	if failure.Reason != pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD || failure.Violations[0].Field != "documents[1].id" {
		t.Fatal(failure)
	}
	if totals.Documents != 10 || server.calls.Load() != 1 {
		t.Fatal(totals, server.calls.Load())
	}
}

func TestAcknowledgementsOutOfOrderAreAnError(t *testing.T) {
	for name, sequences := range map[string][]int64{
		"another one": {2}, "one that was": {1, 1}, "none": {0}, "far too many": make([]int64, 100),
	} {
		t.Run(name, func(t *testing.T) {
			server := &standIn{ingestStream: func(stream ingestServer, _ int) error {
				for range 2 {
					if _, err := stream.Recv(); err != nil {
						return err
					}
				}
				for _, sequence := range sequences {
					if err := stream.Send(&pgfoxv1.IngestResponse{Sequence: sequence}); err != nil {
						return err
					}
				}
				<-stream.Context().Done()
				return nil
			}}
			client := connect(t, server)
			_, err := ingestAll(t.Context(), t, client, numbered(20), &pgfox.IngestOptions{DocumentsPerRequest: 5})
			if failure := failed(t, err, codes.Internal); !strings.Contains(failure.Error(), "acknowledged request") {
				t.Fatal(failure)
			}
		})
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	client := connect(t, &standIn{ingestStream: silent})
	options := &pgfox.IngestOptions{AcknowledgeTimeout: 200 * time.Millisecond}
	_, err := ingestAll(t.Context(), t, client, numbered(1), options)
	if failure := failed(t, err, codes.DeadlineExceeded); !strings.Contains(failure.Error(), "nothing for 200ms") {
		t.Fatal(failure)
	}
}

func TestAnAnswerThatWaitsCountsHoweverLongTheSourcePaused(t *testing.T) {
	const timeout = 50 * time.Millisecond
	// Often, since chance would choose.
	for range 10 {
		client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }})
		paused := func(yield func(*pgfoxv1.Document, error) bool) {
			if yield(&pgfoxv1.Document{Id: "0"}, nil) {
				time.Sleep(4 * timeout)
			}
		}
		options := &pgfox.IngestOptions{DocumentsPerRequest: 1, AcknowledgeTimeout: timeout}
		if totals, err := ingestAll(t.Context(), t, client, paused, options); err != nil || totals.Documents != 1 {
			t.Fatal(totals, err)
		}
	}
}

func TestAnAnswerThatWaitsCountsWhenTheContextHasEnded(t *testing.T) {
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }})
	ctx, cancel := context.WithCancel(t.Context())
	cancelling := func(yield func(*pgfoxv1.Document, error) bool) {
		if yield(&pgfoxv1.Document{Id: "0"}, nil) {
			time.Sleep(200 * time.Millisecond)
			cancel()
			yield(&pgfoxv1.Document{Id: "1"}, nil)
		}
	}
	totals, err := ingestAll(ctx, t, client, cancelling, &pgfox.IngestOptions{DocumentsPerRequest: 1})
	if !errors.Is(err, context.Canceled) || totals.Documents != 1 {
		t.Fatal(totals, err)
	}
}

// silent reads everything and answers nothing.
func silent(stream ingestServer, _ int) error {
	for {
		if _, err := stream.Recv(); err != nil {
			<-stream.Context().Done()
			return nil
		}
	}
}

func TestCancellingEndsItWhereverItIs(t *testing.T) {
	endless := func(yield func(*pgfoxv1.Document, error) bool) {
		for i := 0; yield(&pgfoxv1.Document{Id: fmt.Sprint(i)}, nil); i++ {
		}
	}
	busyForLong := func(ingestServer, int) error { return busy(20 * time.Second) }
	// It does not even read, so that sending waits.
	deaf := func(stream ingestServer, _ int) error {
		<-stream.Context().Done()
		return nil
	}
	large := func(yield func(*pgfoxv1.Document, error) bool) {
		for yield(&pgfoxv1.Document{Text: strings.Repeat("x", 1<<20)}, nil) {
		}
	}
	for name, test := range map[string]struct {
		server func(ingestServer, int) error
		source source
	}{
		"while it waits for room":               {silent, endless},
		"while it waits for acknowledgements":   {silent, numbered(10)},
		"while it sends":                        {deaf, large},
		"while it waits to try again":           {busyForLong, numbered(10)},
		"while it is busy":                      {func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }, endless},
		"while the source waits, which watches": {silent, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, &standIn{ingestStream: test.server})
			ctx, cancel := context.WithCancel(t.Context())
			source := test.source
			if source == nil {
				source = func(yield func(*pgfoxv1.Document, error) bool) {
					<-ctx.Done()
					yield(nil, ctx.Err())
				}
			}
			time.AfterFunc(100*time.Millisecond, cancel)
			began := time.Now()
			_, err := ingestAll(ctx, t, client, source, nil)
			if !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
				t.Fatal(err, time.Since(began))
			}
		})
	}
	t.Run("before it begins", func(t *testing.T) {
		client := connect(t, &standIn{ingestStream: silent})
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		_, err := ingestAll(ctx, t, client, endless, nil)
		failed(t, err, codes.DeadlineExceeded)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestAFailingSourceEndsIt(t *testing.T) {
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }})
	broken := errors.New("the file ends early")
	source := func(yield func(*pgfoxv1.Document, error) bool) {
		for document := range numbered(7) {
			if !yield(document, nil) {
				return
			}
		}
		if yield(nil, broken) {
			t.Error("it reads on after the error")
		}
	}
	_, err := ingestAll(t.Context(), t, client, source, &pgfox.IngestOptions{DocumentsPerRequest: 2})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "document 7") {
		t.Fatal(err)
	}
}

func TestADocumentThatCannotBeSentIsNamed(t *testing.T) {
	client := connect(t, &standIn{ingestStream: func(stream ingestServer, _ int) error { return acknowledgeAll(stream) }})
	for _, test := range []struct {
		document    *pgfoxv1.Document
		field, rule string
	}{
		{&pgfoxv1.Document{Id: "big", Text: strings.Repeat("x", pgfox.MaxBytesPerRequest)}, "documents[1]", "must have at most 16711680 bytes"},
		{&pgfoxv1.Document{Id: "latin", Text: "caf\xe9"}, "documents[1].text", "must be UTF-8"},
	} {
		source := func(yield func(*pgfoxv1.Document, error) bool) {
			for document := range numbered(7) {
				if !yield(document, nil) {
					return
				}
			}
			if yield(test.document, nil) {
				t.Error("it reads on after the error")
			}
		}
		// Of the requests of three, two are full.
		totals, err := ingestAll(t.Context(), t, client, source, &pgfox.IngestOptions{DocumentsPerRequest: 3})
		failure := failed(t, err, codes.InvalidArgument)
		where := fmt.Sprintf("(position 7 in the stream, id %q)", test.document.GetId())
		if text := failure.Error(); !strings.Contains(text, test.field+" "+test.rule) || !strings.Contains(text, where) {
			t.Error(failure)
		}
		if v := failure.Violations; len(v) != 1 || v[0].Field != test.field || !strings.HasPrefix(v[0].Rule, test.rule) {
			t.Error(v)
		}
		if totals.Documents != 6 {
			t.Error(totals)
		}
	}
	largest := slices.Values([]*pgfoxv1.Document{{Text: strings.Repeat("x", pgfox.MaxBytesPerRequest-100)}})
	if totals, err := ingestAll(t.Context(), t, client, pgfox.Documents(largest), nil); err != nil || totals.Documents != 1 {
		t.Error(totals, err)
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

func TestIngestOptionsAreChecked(t *testing.T) {
	client := connect(t, &standIn{})
	for field, options := range map[string]pgfox.IngestOptions{
		"DocumentsPerRequest": {DocumentsPerRequest: 1001},
		"BytesPerRequest":     {BytesPerRequest: 16 << 20},
		"RequestsInFlight":    {RequestsInFlight: 1001},
		"AcknowledgeTimeout":  {AcknowledgeTimeout: -1},
		"RetryTimeout":        {RetryTimeout: -1},
	} {
		_, err := ingestAll(t.Context(), t, client, numbered(1), &options)
		if failure := failed(t, err, codes.InvalidArgument); failure.Violations[0].Field != field {
			t.Error(failure)
		}
	}
	_, err := client.IngestAll(t.Context(), "", numbered(1), nil)
	failed(t, err, codes.InvalidArgument)
}
