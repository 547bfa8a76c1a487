package pgfox

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const (
	// First pause before a call is retried. It doubles with every failure, up to maxPause.
	minPause = 100 * time.Millisecond
	// Longest pause, unless the server asks for more.
	maxPause = 5 * time.Second
)

// calls adds the deadline, the retries and the errors of this package to every call.
type calls struct {
	endpoint string
	timeout  time.Duration
	retry    bool
}

func (c calls) unary(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	canRepeat := c.retry && isRepeatable(req)
	began := time.Now()
	var pauses pauses
	for attempts := 1; ; attempts++ {
		var header, trailer metadata.MD
		err := invoke(ctx, method, req, reply, conn, slices.Concat(opts, []grpc.CallOption{grpc.Header(&header), grpc.Trailer(&trailer)})...)
		if err == nil {
			return nil
		}
		failure := newError(ctx, err, c.endpoint, header, trailer)
		if failure.Code == codes.Internal {
			if path := notUTF8(req); path != "" {
				return invalidArgument(path, "must be UTF-8")
			}
		}
		if attempts > 1 {
			failure.Message += fmt.Sprintf(" (%d attempts in %v)", attempts, time.Since(began).Round(time.Millisecond))
		}
		if !canRepeat || !failure.isTemporary() {
			return failure
		}
		pause := pauses.next(failure)
		if time.Until(deadline) <= pause {
			return failure
		}
		if sleep(ctx, pause) != nil {
			return ended(ctx)
		}
	}
}

// isRepeatable reports whether a call is safe to repeat. The others would report an error although the first attempt
// succeeded: the collection exists, or is gone, or the version has changed.
func isRepeatable(request any) bool {
	switch request := request.(type) {
	case *pgfoxv1.CreateCollectionRequest, *pgfoxv1.DeleteCollectionRequest, *pgfoxv1.DropIndexRequest:
		return false
	case *pgfoxv1.IngestRequest:
		return len(request.GetIfVersion()) == 0
	}
	return true
}

func (c calls) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, newError(ctx, err, c.endpoint)
	}
	return clientStream{stream, ctx, c.endpoint}, nil
}

// clientStream is a stream that returns errors of this package.
type clientStream struct {
	grpc.ClientStream
	// The caller's context. The context of the stream ends with the stream, for whatever reason.
	ctx      context.Context
	endpoint string
}

func (s clientStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil || err == io.EOF {
		return err
	}
	// The stream has ended, so this does not wait.
	header, _ := s.Header()
	return newError(s.ctx, err, s.endpoint, header, s.Trailer())
}

func (s clientStream) SendMsg(message any) error {
	err := s.ClientStream.SendMsg(message)
	if err == nil || err == io.EOF {
		return err
	}
	return newError(s.ctx, err, s.endpoint)
}

// bearer provides the API key. It is a function, so that no way of printing shows the key.
type bearer func() string

var _ credentials.PerRPCCredentials = bearer(nil)

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b()}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// pauses computes the waits between attempts.
type pauses struct{ last time.Duration }

// next returns the wait after a failure, at least as long as the server asks for. Half of it is random, so that many
// clients that failed together do not come back together.
func (p *pauses) next(failure *Error) time.Duration {
	p.last = min(max(2*p.last, minPause), maxPause)
	return max(p.last/2+rand.N(p.last/2), failure.RetryDelay)
}

// sleep returns early, with the error of the context, if the context ends.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
