package pgfox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const (
	// MaxDocumentsPerRequest is the maximum number of documents in one request, the server's limit.
	MaxDocumentsPerRequest = 1000
	// MaxBytesPerRequest is the maximum number of bytes of documents in one request: the server's 16 MiB less room for the
	// rest.
	MaxBytesPerRequest = 16<<20 - 64<<10
	// MaxRequestsInFlight is the maximum number of requests that are sent but not acknowledged.
	MaxRequestsInFlight = 100
)

// IngestOptions are the settings of [Client.IngestAll]. The zero value has the defaults.
type IngestOptions struct {
	// SkipInvalid stores the valid documents and reports the invalid ones, instead of ending at the first invalid request.
	SkipInvalid bool
	// OnlyIfAbsent stores only documents whose id does not exist yet, and leaves the others as they are.
	OnlyIfAbsent bool
	// DocumentsPerRequest is 1 to [MaxDocumentsPerRequest]. 0: 500.
	DocumentsPerRequest int
	// BytesPerRequest is the size of documents at which a request is sent, 1 to [MaxBytesPerRequest]. A larger document is
	// sent alone. 0: 2 MiB.
	BytesPerRequest int
	// RequestsInFlight is the maximum number of requests that are sent but not acknowledged, 1 to [MaxRequestsInFlight].
	// They are kept to be sent again, and documents are not read farther ahead. 0: 4.
	RequestsInFlight int
	// AcknowledgeTimeout is the maximum wait for an acknowledgement over an open connection, at most [MaxTimeout]. 0: 10
	// minutes, since embedding 1,000 long texts on a busy machine takes minutes.
	AcknowledgeTimeout time.Duration
	// RetryTimeout is how long to retry after an interruption without an acknowledgement, at most [MaxTimeout]. 0: 60 s. A
	// value shorter than the first pause, such as a nanosecond, means no retries.
	RetryTimeout time.Duration
	// OnAcknowledged is called for every committed request, with everything acknowledged so far and the skipped documents
	// of this request. It should be quick.
	OnAcknowledged func(totals IngestTotals, skipped []SkippedDocument)
	// OnInterrupted is called for every interruption. The stream resumes after the pause.
	OnInterrupted func(err error, pause time.Duration)
}

// IngestTotals counts everything that is acknowledged, which means committed.
type IngestTotals struct {
	// Documents counts documents, including skipped ones.
	Documents int64
	// Upserted counts documents that were inserted or changed.
	Upserted int64
	// Updated counts documents among Upserted that existed before.
	Updated int64
	// Unchanged counts documents that were already stored unchanged. After an interruption it includes documents that were
	// sent twice.
	Unchanged int64
	// Skipped counts documents that the server refused, with SkipInvalid.
	Skipped int64
	// Existing counts documents whose id existed, with OnlyIfAbsent. After an interruption it includes documents that were
	// sent twice.
	Existing int64
	// Embedded counts embedded texts: documents or their chunks.
	Embedded int64
	// Truncated counts documents whose text is longer than the model reads.
	Truncated int64
	// Unembedded counts documents that were stored without a vector because they have no text.
	Unembedded int64
	// FullTextCut counts documents whose text is so long that full-text search does not know all of it.
	FullTextCut int64
	// Tokens counts tokens that the model read.
	Tokens int64
}

// SkippedDocument is a document that the server refused.
type SkippedDocument struct {
	// Position in the whole stream, from 0.
	Position int64
	// ID of the document, cut to at most 512 bytes.
	ID string
	// Reason is for programs.
	Reason pgfoxv1.ErrorReason
	// Message is for people.
	Message string
}

// Documents makes a source for [Client.IngestAll] from documents that cannot fail, such as slices.Values(documents).
func Documents(documents iter.Seq[*pgfoxv1.Document]) iter.Seq2[*pgfoxv1.Document, error] {
	return func(yield func(*pgfoxv1.Document, error) bool) {
		for document := range documents {
			if !yield(document, nil) {
				return
			}
		}
	}
}

// IngestAll streams documents into a collection and returns when all are committed. It groups them into requests and
// keeps a limited number of requests in flight. If the connection breaks, it connects again and sends everything again
// that was not acknowledged. Ids make that safe: nothing is lost and nothing is stored twice. A nil opts has the
// defaults.
//
// The totals are what was committed, also when there is an error: the first totals.Documents documents. The error is an
// [*Error], or wraps what the source returned. `documents[3]` in Error.Violations counts within the request that was refused,
// the first one that is not committed: in the whole stream, that is position totals.Documents + 3. A document that cannot be
// sent, because it is too large or not UTF-8, is refused in the same way, also with SkipInvalid.
//
// A request is sent when it is full or the source ends. Until then, what a source gives slowly is neither sent nor stored; with
// DocumentsPerRequest 1 every document goes at once.
//
// When ctx ends, so does IngestAll. The source and the callbacks run in the goroutine of the caller, so they need no locks,
// and a source that waits for something should watch ctx itself. Documents must not be changed once the source gave them.
func (c *Client) IngestAll(
	ctx context.Context, collection string, documents iter.Seq2[*pgfoxv1.Document, error], opts *IngestOptions,
) (IngestTotals, error) {
	options, err := opts.withDefaults(collection)
	if err != nil {
		return IngestTotals{}, err
	}
	in := &ingest{client: c, options: options}
	defer in.disconnect()
	batch := batch{collection: collection, options: options}
	for document, err := range documents {
		if err != nil {
			return in.totals, fmt.Errorf("pgfox: reading document %d: %w", batch.position, err)
		}
		full, err := batch.add(document)
		if err != nil {
			// Send the earlier requests first, so that the totals show where the refused one begins.
			if earlier := in.finish(ctx); earlier != nil {
				return in.totals, earlier
			}
			return in.totals, err
		}
		if full != nil {
			err = in.send(ctx, full)
		} else {
			err = in.receiveWaiting(ctx)
		}
		if err != nil {
			return in.totals, err
		}
	}
	if last := batch.take(); last != nil {
		if err := in.send(ctx, last); err != nil {
			return in.totals, err
		}
	}
	return in.totals, in.finish(ctx)
}

func (o *IngestOptions) withDefaults(collection string) (IngestOptions, error) {
	var options IngestOptions
	if o != nil {
		options = *o
	}
	if !utf8.ValidString(collection) {
		return options, invalidArgument("collection", "must be UTF-8")
	}
	for _, count := range []struct {
		option      string
		value, most int
	}{
		{"DocumentsPerRequest", options.DocumentsPerRequest, MaxDocumentsPerRequest},
		{"BytesPerRequest", options.BytesPerRequest, MaxBytesPerRequest},
		{"RequestsInFlight", options.RequestsInFlight, MaxRequestsInFlight},
	} {
		if count.value < 0 || count.value > count.most {
			rule := fmt.Sprintf("must be 1 to %d, or 0 for the default, not %d", count.most, count.value)
			return options, invalidArgument(count.option, rule)
		}
	}
	for _, timeout := range []struct {
		option string
		value  time.Duration
	}{
		{"AcknowledgeTimeout", options.AcknowledgeTimeout},
		{"RetryTimeout", options.RetryTimeout},
	} {
		if timeout.value < 0 || timeout.value > MaxTimeout {
			rule := fmt.Sprintf("must be above 0 and at most %v, or 0 for the default, not %v", MaxTimeout, timeout.value)
			return options, invalidArgument(timeout.option, rule)
		}
	}
	setDefault(&options.DocumentsPerRequest, 500)
	setDefault(&options.BytesPerRequest, 2<<20)
	setDefault(&options.RequestsInFlight, 4)
	setDefault(&options.AcknowledgeTimeout, 10*time.Minute)
	setDefault(&options.RetryTimeout, time.Minute)
	return options, nil
}

func setDefault[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// ingest is a stream of requests that outlives its connections.
type ingest struct {
	client  *Client
	options IngestOptions
	// The connection; nil before the first request and after an interruption.
	stream *ingestStream
	// The requests in flight, the oldest first.
	unacknowledged []*pgfoxv1.IngestRequest
	// If no request in flight is acknowledged by then, the server counts as dead.
	deadline time.Time
	totals   IngestTotals
	pauses   pauses
	// The first failure since the last acknowledgement.
	failingSince time.Time
}

// send sends a request as soon as there is room for it.
func (in *ingest) send(ctx context.Context, request *pgfoxv1.IngestRequest) error {
	for len(in.unacknowledged) >= in.options.RequestsInFlight {
		if err := in.receive(ctx); err != nil {
			return err
		}
	}
	if len(in.unacknowledged) == 0 {
		// An interruption without requests in flight has cost nothing.
		in.failingSince = time.Time{}
		in.deadline = time.Now().Add(in.options.AcknowledgeTimeout)
	}
	in.unacknowledged = append(in.unacknowledged, request)
	if in.stream != nil {
		in.stream.requests <- request
	}
	return in.receiveWaiting(ctx)
}

// finish waits until everything is acknowledged.
func (in *ingest) finish(ctx context.Context) error {
	for len(in.unacknowledged) > 0 {
		if err := in.receive(ctx); err != nil {
			return err
		}
	}
	if in.stream != nil {
		in.stream.finish()
	}
	return nil
}

// receiveWaiting handles what the server has sent, without waiting for more. It connects if there is something to send.
func (in *ingest) receiveWaiting(ctx context.Context) error {
	for {
		var answers chan answer
		if in.stream != nil {
			answers = in.stream.answers
		}
		select {
		case answer := <-answers:
			if err := in.handle(ctx, answer); err != nil {
				return err
			}
			continue
		default:
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		if in.stream != nil || len(in.unacknowledged) == 0 {
			return nil
		}
		if err := in.connect(ctx); err != nil {
			return err
		}
	}
}

// receive waits for an answer that the server owes, and handles it.
func (in *ingest) receive(ctx context.Context) error {
	if in.stream == nil {
		return in.connect(ctx)
	}
	// Answers that have already come count even if the source paused until after the deadline. select would choose at
	// random.
	select {
	case answer := <-in.stream.answers:
		return in.handle(ctx, answer)
	default:
	}
	timeout := time.NewTimer(time.Until(in.deadline))
	defer timeout.Stop()
	select {
	case answer := <-in.stream.answers:
		return in.handle(ctx, answer)
	case <-ctx.Done():
		return ended(ctx)
	case <-timeout.C:
		message := fmt.Sprintf("the server acknowledged nothing for %v", in.options.AcknowledgeTimeout)
		return &Error{Code: codes.DeadlineExceeded, Message: message, cause: context.DeadlineExceeded}
	}
}

func (in *ingest) handle(ctx context.Context, answer answer) error {
	switch {
	case answer.err == io.EOF:
		ended := &Error{Code: codes.Unavailable, Message: "the server ended the stream early"}
		return in.interrupted(ctx, ended)
	case answer.err != nil:
		return in.interrupted(ctx, answer.err)
	}
	return in.acknowledge(answer.response)
}

// connect opens a stream and sends what an earlier one left unacknowledged.
func (in *ingest) connect(ctx context.Context) error {
	stream, err := openIngestStream(ctx, in.client, in.options.RequestsInFlight)
	if err != nil {
		return in.interrupted(ctx, err)
	}
	in.stream = stream
	in.deadline = time.Now().Add(in.options.AcknowledgeTimeout)
	for _, request := range in.unacknowledged {
		stream.requests <- request
	}
	return nil
}

func (in *ingest) disconnect() {
	if in.stream != nil {
		in.stream.close()
		in.stream = nil
	}
}

// interrupted waits before the next connection, or returns the error if there will be none.
func (in *ingest) interrupted(ctx context.Context, err error) error {
	in.disconnect()
	if ctx.Err() != nil {
		return ended(ctx)
	}
	var failure *Error
	if !errors.As(err, &failure) || !failure.isInterruption() {
		return err
	}
	if in.failingSince.IsZero() {
		in.failingSince = time.Now()
	}
	pause := in.pauses.next(failure)
	if failingFor := time.Since(in.failingSince); failingFor+pause > in.options.RetryTimeout {
		failure.Message += fmt.Sprintf(" (gave up after trying again for %v)", failingFor.Round(time.Millisecond))
		return failure
	}
	if in.options.OnInterrupted != nil {
		in.options.OnInterrupted(failure, pause)
	}
	if sleep(ctx, pause) != nil {
		return ended(ctx)
	}
	return nil
}

func (in *ingest) acknowledge(response *pgfoxv1.IngestResponse) error {
	var expected int64
	if len(in.unacknowledged) > 0 {
		expected = in.unacknowledged[0].GetSequence()
	}
	if expected == 0 || response.GetSequence() != expected {
		message := fmt.Sprintf("the server acknowledged request %d instead of %d (0: none)", response.GetSequence(), expected)
		return &Error{Code: codes.Internal, Message: message}
	}
	totals := &in.totals
	var skipped []SkippedDocument
	for _, refused := range response.GetErrors() {
		skipped = append(skipped, SkippedDocument{
			Position: totals.Documents + int64(refused.GetIndex()),
			ID:       refused.GetId(),
			Reason:   refused.GetReason(),
			Message:  refused.GetMessage(),
		})
	}
	totals.Documents += int64(len(in.unacknowledged[0].GetDocuments()))
	totals.Upserted += int64(response.GetUpsertedCount())
	totals.Updated += int64(response.GetUpdatedCount())
	totals.Unchanged += int64(response.GetUnchangedCount())
	totals.Skipped += int64(len(skipped))
	totals.Existing += int64(response.GetSkippedCount())
	totals.Embedded += int64(response.GetEmbeddedCount())
	totals.Truncated += int64(response.GetTruncatedCount())
	totals.Unembedded += int64(response.GetUnembeddedCount())
	totals.FullTextCut += int64(response.GetFullTextCutCount())
	totals.Tokens += response.GetUsage().GetTokens()

	in.unacknowledged = in.unacknowledged[1:]
	in.deadline = time.Now().Add(in.options.AcknowledgeTimeout)
	in.pauses, in.failingSince = pauses{}, time.Time{}
	if in.options.OnAcknowledged != nil {
		in.options.OnAcknowledged(*totals, skipped)
	}
	return nil
}
