package pgfox

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// AllDocuments lists every document that a ListDocuments request selects, beginning at its page_token. It requests the
// next page when it is needed:
//
//	for document, err := range client.AllDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: "films"}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(document.GetId())
//	}
//
// An error is the last item. Each page has its own deadline unless ctx has one. The request is not changed.
func (c *Client) AllDocuments(
	ctx context.Context, request *pgfoxv1.ListDocumentsRequest, opts ...grpc.CallOption,
) iter.Seq2[*pgfoxv1.Document, error] {
	return func(yield func(*pgfoxv1.Document, error) bool) {
		next := clone(request)
		eachPage(yield, func() ([]*pgfoxv1.Document, string, error) {
			page, err := c.ListDocuments(ctx, next, opts...)
			next.PageToken = page.GetNextPageToken()
			return page.GetDocuments(), next.PageToken, err
		})
	}
}

// AllCollections lists every collection, as [Client.AllDocuments] lists documents. A nil request lists all.
func (c *Client) AllCollections(
	ctx context.Context, request *pgfoxv1.ListCollectionsRequest, opts ...grpc.CallOption,
) iter.Seq2[*pgfoxv1.Collection, error] {
	return func(yield func(*pgfoxv1.Collection, error) bool) {
		next := clone(request)
		eachPage(yield, func() ([]*pgfoxv1.Collection, string, error) {
			page, err := c.ListCollections(ctx, next, opts...)
			next.PageToken = page.GetNextPageToken()
			return page.GetCollections(), next.PageToken, err
		})
	}
}

// clone copies the request, since its page_token changes. nil becomes an empty one.
func clone[T proto.Message](request T) T {
	if !request.ProtoReflect().IsValid() {
		return request.ProtoReflect().New().Interface().(T)
	}
	return proto.Clone(request).(T)
}

// eachPage yields the entries of each page, until a page has no token for the next one.
func eachPage[T any](yield func(T, error) bool, page func() ([]T, string, error)) {
	for {
		items, token, err := page()
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
		if token == "" {
			return
		}
	}
}
