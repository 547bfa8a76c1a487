package pgfox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// Error says why a call failed. [errors.As] finds it in the error of every call, and gRPC's status.FromError reads it
// too. errors.Is(err, context.DeadlineExceeded) and errors.Is(err, context.Canceled) hold as they would for a local
// call.
type Error struct {
	// Code is the gRPC code.
	Code codes.Code
	// Message says what is wrong and what to do, for people.
	Message string
	// Reason says what is wrong, for programs. ERROR_REASON_UNSPECIFIED if the error is not from pgfox, as for a lost
	// connection, or if this package is older than the reason.
	Reason pgfoxv1.ErrorReason
	// Metadata has the values that the documentation of the reason names, such as "collection".
	Metadata map[string]string
	// Violations has every field that breaks a rule. It is empty if the error is not about fields.
	Violations []Violation
	// RetryDelay is how long to wait before retrying the call. 0: the server does not say.
	RetryDelay time.Duration
	// RequestID is the id of the call in the server's log. It is empty if the server did not answer.
	RequestID string

	// The status as received; nil if the error arose in this package.
	status *status.Status
	// The error of the context that the code corresponds to.
	cause error
}

// Violation is a field of a request that breaks a rule.
type Violation struct {
	// Field is the path of the field, such as "documents[3].vector".
	Field string
	// Rule is the rule that it breaks.
	Rule string
}

// Error returns one line with the code, the reason, and the message or every violation.
func (e *Error) Error() string {
	text := "pgfox: " + e.Code.String()
	if e.Reason != pgfoxv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		text += " " + strings.TrimPrefix(e.Reason.String(), reasonPrefix)
	}
	// If there is one violation, the message contains it.
	if len(e.Violations) < 2 {
		return text + ": " + e.Message
	}
	rules := make([]string, len(e.Violations))
	for i, violation := range e.Violations {
		rules[i] = strings.TrimSpace(violation.Field + " " + violation.Rule)
	}
	return text + ": " + strings.Join(rules, "; ")
}

// GRPCStatus returns the status as received, for status.FromError and status.Code.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// Unwrap returns the error of the context that the code corresponds to, if any.
func (e *Error) Unwrap() error {
	return e.cause
}

// ReasonOf returns the reason of an error, wrapped or not: errors.As and [Error.Reason] in one. ERROR_REASON_UNSPECIFIED: there
// is none.
//
//	switch pgfox.ReasonOf(err) {
//	case pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND:
func ReasonOf(err error) pgfoxv1.ErrorReason {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return pgfoxv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

const (
	errorDomain  = "pgfox"
	reasonPrefix = "ERROR_REASON_"
)

// newError reads the details of an error from a status and from the metadata of the answer.
func newError(ctx context.Context, err error, endpoint string, answers ...metadata.MD) *Error {
	s := status.Convert(err)
	e := &Error{Code: s.Code(), Message: s.Message(), status: s}
	isFromPgfox := false
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == errorDomain {
				isFromPgfox = true
				e.Reason = pgfoxv1.ErrorReason(pgfoxv1.ErrorReason_value[reasonPrefix+detail.GetReason()])
				e.Metadata = detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.RetryDelay = detail.GetRetryDelay().AsDuration()
		}
	}
	for _, answer := range answers {
		if ids := answer.Get("x-request-id"); len(ids) > 0 {
			e.RequestID = ids[0]
		}
	}
	switch {
	case e.Code == codes.DeadlineExceeded:
		e.cause = context.DeadlineExceeded
	case e.Code == codes.Canceled && ctx.Err() != nil:
		e.cause = ctx.Err()
	case isUntrusted(s):
		e.Message = fmt.Sprintf("no TLS with %s: %s (check the CA, the name in the certificate, and that the server speaks TLS)",
			endpoint, e.Message)
	case e.Code == codes.Unavailable && !isFromPgfox:
		// The text of gRPC for a name without addresses.
		if e.Message == "no children to pick from" {
			e.Message = "the name has no address"
		}
		e.Message = fmt.Sprintf("no answer from %s: %s (check the address, that a server runs there, and whether it expects https://)",
			endpoint, e.Message)
	}
	return e
}

// invalidArgument is the error that the server would return, for a mistake that this package finds itself.
func invalidArgument(field, rule string) *Error {
	return &Error{
		Code:       codes.InvalidArgument,
		Message:    field + " " + rule,
		Reason:     pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD,
		Violations: []Violation{{field, rule}},
	}
}

// notUTF8 returns the path of the first string of a message that cannot be sent, such as "documents[3].text". It is
// empty if all can be sent.
func notUTF8(message any) string {
	m, is := message.(proto.Message)
	if !is {
		return ""
	}
	found := ""
	_ = protorange.Range(m.ProtoReflect(), func(values protopath.Values) error {
		if text, is := values.Index(-1).Value.Interface().(string); is && !utf8.ValidString(text) {
			// Without the root, which is the type of the message.
			found = strings.TrimPrefix(values.Path[1:].String(), ".")
			return protorange.Terminate
		}
		return nil
	})
	return found
}

// ended returns the end of the caller's context as an [*Error].
func ended(ctx context.Context) *Error {
	return newError(ctx, status.FromContextError(ctx.Err()).Err(), "")
}

// isTemporary reports whether the same call may succeed later: the server is unreachable, or it says when to come back.
func (e *Error) isTemporary() bool {
	switch e.Code {
	case codes.Unavailable:
		return !isUntrusted(e.status)
	case codes.ResourceExhausted:
		return e.hasRetryInfo()
	}
	return false
}

// isInterruption reports whether a stream may be resumed after the error. The stream may have ended anywhere on its
// way. Only gRPC's message distinguishes a stream that was reset from an answer of the server.
func (e *Error) isInterruption() bool {
	switch e.Code {
	case codes.Canceled:
		return e.cause == nil
	case codes.Internal, codes.Unknown:
		message := e.status.Message()
		return strings.HasPrefix(message, "stream terminated by RST_STREAM") || message == "server closed the stream without sending trailers"
	}
	return e.isTemporary()
}

func (e *Error) hasRetryInfo() bool {
	for _, detail := range e.status.Details() {
		if _, is := detail.(*errdetails.RetryInfo); is {
			return true
		}
	}
	return false
}

// isUntrusted reports whether TLS failed, as with a certificate of another CA. gRPC reports UNAVAILABLE as for a lost
// connection, and only its message differs, but retrying does not help.
func isUntrusted(s *status.Status) bool {
	return s.Code() == codes.Unavailable && strings.Contains(s.Message(), "authentication handshake failed: tls: ")
}
