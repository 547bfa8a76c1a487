package pgfox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// pagesOfTwo has five documents, and as many collections.
func pagesOfTwo() *standIn {
	page := func(token string) (names []string, next string) {
		for i := len(token); i < min(len(token)+2, 5); i++ {
			names = append(names, fmt.Sprint(i))
		}
		if len(token) < 4 {
			next = token + "xx"
		}
		return names, next
	}
	return &standIn{
		list: func(_ context.Context, request *pgfoxv1.ListDocumentsRequest) (*pgfoxv1.ListDocumentsResponse, error) {
			names, next := page(request.GetPageToken())
			response := &pgfoxv1.ListDocumentsResponse{NextPageToken: next}
			for _, name := range names {
				response.Documents = append(response.Documents, &pgfoxv1.Document{Id: request.GetCollection() + name})
			}
			return response, nil
		},
		collections: func(_ context.Context, request *pgfoxv1.ListCollectionsRequest) (*pgfoxv1.ListCollectionsResponse, error) {
			names, next := page(request.GetPageToken())
			response := &pgfoxv1.ListCollectionsResponse{NextPageToken: next}
			for _, name := range names {
				response.Collections = append(response.Collections, &pgfoxv1.Collection{Name: name})
			}
			return response, nil
		},
	}
}

func TestAllDocumentsOfEveryPage(t *testing.T) {
	server := pagesOfTwo()
	client := connect(t, server)
	request := &pgfoxv1.ListDocumentsRequest{Collection: "c"}
	documents := client.AllDocuments(t.Context(), request)
	// Twice, since a sequence may be ranged over again.
	for range 2 {
		var ids string
		for document, err := range documents {
			if err != nil {
				t.Fatal(err)
			}
			ids += document.GetId()
		}
		if ids != "c0c1c2c3c4" {
			t.Error(ids)
		}
	}
	if request.GetPageToken() != "" || server.calls.Load() != 6 {
		t.Error(request, server.calls.Load())
	}
	var names string
	for collection, err := range client.AllCollections(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		names += collection.GetName()
	}
	if names != "01234" {
		t.Error(names)
	}
}

func TestPagesAreAskedForWhenTheyAreNeeded(t *testing.T) {
	server := pagesOfTwo()
	client := connect(t, server)
	seen := 0
	for _, err := range client.AllDocuments(t.Context(), &pgfoxv1.ListDocumentsRequest{Collection: "c"}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			break
		}
	}
	if server.calls.Load() != 2 {
		t.Error(server.calls.Load())
	}
}

func TestAnErrorEndsAllDocuments(t *testing.T) {
	client := connect(t, pagesOfTwo())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	seen := 0
	for document, err := range client.AllDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: "c"}) {
		if last != nil {
			t.Fatal("it went on after ", last)
		}
		if last = err; err == nil && document != nil {
			seen++
			cancel()
		}
	}
	if failed(t, last, codes.Canceled); !errors.Is(last, context.Canceled) || seen != 2 {
		t.Error(last, seen)
	}
}

func TestAskingForFacetsIsRepeated(t *testing.T) {
	server := &standIn{}
	client := connect(t, server)
	facets, err := client.FacetDocuments(t.Context(), &pgfoxv1.FacetDocumentsRequest{Collection: "c", Field: "year"})
	if err != nil || pgfox.FacetValue(facets.GetValues()[0]) != int64(1999) || server.calls.Load() != 2 {
		t.Error(facets, err, server.calls.Load())
	}
}
