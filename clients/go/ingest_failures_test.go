package pgfox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

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
	// Often, since it would otherwise depend on chance.
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
	// It does not even read, so sending has to wait.
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
		{
			&pgfoxv1.Document{Id: "big", Text: strings.Repeat("x", pgfox.MaxBytesPerRequest)},
			"documents[1]", "must have at most 16711680 bytes",
		},
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
		// Two requests of three documents are full.
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
