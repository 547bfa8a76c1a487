package pgfox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// How long to wait for the end of the call once everything is acknowledged.
const finishTimeout = 2 * time.Second

// ingestStream is one call of IngestStream, with one goroutine that sends and one that receives.
type ingestStream struct {
	// Has room for all requests that may be in flight, so that putting one in never waits.
	requests chan *pgfoxv1.IngestRequest
	answers  chan answer
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// answer is an acknowledgement, or the end of the stream.
type answer struct {
	response *pgfoxv1.IngestResponse
	err      error
}

func openIngestStream(ctx context.Context, client pgfoxv1.PgfoxServiceClient, requestsInFlight int) (*ingestStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	call, err := client.IngestStream(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &ingestStream{
		requests: make(chan *pgfoxv1.IngestRequest, requestsInFlight),
		answers:  make(chan answer, requestsInFlight),
		cancel:   cancel,
	}
	s.running.Add(2)
	go func() {
		defer s.running.Done()
		for {
			select {
			case request, more := <-s.requests:
				if !more {
					_ = call.CloseSend()
					return
				}
				// If sending fails, receiving fails too and says why.
				if call.Send(request) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer s.running.Done()
		for {
			response, err := call.Recv()
			select {
			case s.answers <- answer{response, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return s, nil
}

// finish signals the end of the requests, so that the server ends the call. Everything is stored, so this is
// only polite.
func (s *ingestStream) finish() {
	close(s.requests)
	select {
	case <-s.answers:
	case <-time.After(finishTimeout):
	}
}

// close ends the call at once and waits for the goroutines.
func (s *ingestStream) close() {
	s.cancel()
	s.running.Wait()
}

// batch groups documents into requests.
type batch struct {
	collection string
	options    IngestOptions
	documents  []*pgfoxv1.Document
	bytes      int
	// The number of documents that came before.
	position int64
	sequence int64
	// Buffer for the encoded document. Only its size matters, and whether it can be encoded.
	scratch []byte
}

// add returns a request that is full with or before this document, if any.
func (b *batch) add(document *pgfoxv1.Document) (*pgfoxv1.IngestRequest, error) {
	encoded, err := proto.MarshalOptions{}.MarshalAppend(b.scratch[:0], document)
	if err != nil {
		if path := notUTF8(document); path != "" {
			return nil, b.invalid(document, "."+path, "must be UTF-8")
		}
		return nil, b.invalid(document, "", "cannot be sent: "+err.Error())
	}
	b.scratch = encoded
	// The field's tag and length are added to the size of the document.
	size := len(encoded) + 6
	if size > MaxBytesPerRequest {
		return nil, b.invalid(document, "", fmt.Sprintf("must have at most %d bytes, not %d", MaxBytesPerRequest, size))
	}
	b.position++
	var full *pgfoxv1.IngestRequest
	if b.bytes+size > b.options.BytesPerRequest {
		full = b.take()
	}
	b.documents = append(b.documents, document)
	b.bytes += size
	if full == nil && (len(b.documents) >= b.options.DocumentsPerRequest || b.bytes >= b.options.BytesPerRequest) {
		full = b.take()
	}
	return full, nil
}

// invalid refuses the request that is being filled, as the server would, because of a document that cannot be sent.
func (b *batch) invalid(document *pgfoxv1.Document, path, rule string) error {
	failure := invalidArgument(fmt.Sprintf("documents[%d]%s", len(b.documents), path), rule)
	failure.Message += fmt.Sprintf(" (position %d in the stream, id %q)", b.position, document.GetId())
	return failure
}

// take returns the request that is being filled; nil if it is empty.
func (b *batch) take() *pgfoxv1.IngestRequest {
	if len(b.documents) == 0 {
		return nil
	}
	b.sequence++
	request := &pgfoxv1.IngestRequest{
		Collection:   b.collection,
		Documents:    b.documents,
		Sequence:     b.sequence,
		SkipInvalid:  b.options.SkipInvalid,
		OnlyIfAbsent: b.options.OnlyIfAbsent,
	}
	b.documents, b.bytes = nil, 0
	return request
}
