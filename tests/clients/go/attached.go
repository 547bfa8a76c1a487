package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// attached searches and writes a table that SQL has made. The table stays, which tests/clients/run.sh checks.
func (s *story) attached(ctx context.Context) error {
	name := s.attachedCollection
	created, err := s.client.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{Collection: &pgfoxv1.Collection{
		Name: name,
		// Empty: callers send vectors.
		Embedding: &pgfoxv1.Embedding{},
		Source:    &pgfoxv1.Source{Table: s.table, TextColumns: []string{"content"}},
	}})
	if err != nil {
		return err
	}
	collection := created.GetCollection()
	if !slices.Equal(collection.GetSource().GetIdColumns(), []string{"id", "lang"}) || collection.GetDocumentCount() != 4 {
		return fmt.Errorf("created: %v", collection)
	}

	// A key of several columns is an id that is a JSON array.
	since2005, err := pgfox.Field("year").AtLeast(2005).Build()
	if err != nil {
		return err
	}
	if err := s.expectNearest(ctx, []float32{0, 1, 0}, since2005, `[4, "en"]`, `[3, "en"]`); err != nil {
		return err
	}
	got, err := s.client.GetDocuments(ctx, &pgfoxv1.GetDocumentsRequest{Collection: name, Ids: []string{`[2, "en"]`}})
	if err != nil {
		return err
	}
	sounds := got.GetDocuments()[0]
	if sounds.GetText() != answer || pgfox.MetadataMap(sounds.GetMetadata())["year"] != int64(2000) {
		return fmt.Errorf("got: %v", sounds)
	}

	metadata, err := pgfox.NewMetadata(map[string]any{"year": 2024})
	if err != nil {
		return err
	}
	stored, err := s.client.Ingest(ctx, &pgfoxv1.IngestRequest{Collection: name, Documents: []*pgfoxv1.Document{{
		Id:       `[5, "en"]`,
		Text:     "Foxes climb trees",
		Vector:   &pgfoxv1.Vector{Values: []float32{1, 1, 1}},
		Metadata: metadata,
	}}})
	if err != nil {
		return err
	}
	if stored.GetUpsertedCount() != 1 || stored.GetUpdatedCount() != 0 {
		return fmt.Errorf("stored: %v", stored)
	}
	if err := s.expectNearest(ctx, []float32{1, 1, 1}, nil, `[5, "en"]`); err != nil {
		return err
	}

	_, err = s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: name,
		Query:      &pgfoxv1.SearchRequest_Text{Text: "trees"},
		Mode:       pgfoxv1.SearchMode_SEARCH_MODE_FULL_TEXT,
	})
	failure, err := expectFailure(err, codes.FailedPrecondition, pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_ATTACHED)
	if err != nil {
		return err
	}
	if !strings.Contains(failure.Error(), s.table) {
		return fmt.Errorf("%v does not name the table", failure)
	}

	if _, err := s.client.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{Name: name}); err != nil {
		return err
	}
	_, err = s.client.GetCollection(ctx, &pgfoxv1.GetCollectionRequest{Name: name})
	_, err = expectFailure(err, codes.NotFound, pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND)
	return err
}

func (s *story) expectNearest(ctx context.Context, values []float32, filter *pgfoxv1.Filter, ids ...string) error {
	found, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.attachedCollection,
		Query:      &pgfoxv1.SearchRequest_Vector{Vector: &pgfoxv1.Vector{Values: values}},
		Filter:     filter,
		Limit:      int32(len(ids)),
	})
	if err != nil {
		return err
	}
	var nearest []string
	for _, result := range found.GetResults() {
		nearest = append(nearest, result.GetDocument().GetId())
	}
	return expect(slices.Equal(nearest, ids), "found %q instead of %q", nearest, ids)
}
