package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const dimensions = 384

func (s *story) create(ctx context.Context) error {
	if _, err := s.client.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{
		Collection: &pgfoxv1.Collection{Name: s.collection},
	}); err != nil {
		return err
	}
	got, err := s.client.GetCollection(ctx, &pgfoxv1.GetCollectionRequest{Name: s.collection})
	if err != nil {
		return err
	}
	embedding := got.GetCollection().GetEmbedding()
	return expect(embedding.GetModel() != "" && embedding.GetDimensions() == dimensions, "embedding: %v", embedding)
}

func (s *story) ingest(ctx context.Context) error {
	var documents []*pgfoxv1.Document
	for _, fox := range []struct {
		id, text string
		year     int
	}{
		{"diet", "Foxes are omnivores: predators of small animals that also eat fruit", 1990},
		{"sounds", "Foxes can make over 40 different sounds", 2000},
		{"hunting", "Foxes use the magnetic field of the Earth when they hunt", 2010},
		{"kits", "Baby foxes are called kits", 2020},
	} {
		metadata, err := pgfox.NewMetadata(map[string]any{"topic": fox.id, "year": fox.year})
		if err != nil {
			return err
		}
		documents = append(documents, &pgfoxv1.Document{Id: fox.id, Text: fox.text, Metadata: metadata})
	}
	request := &pgfoxv1.IngestRequest{Collection: s.collection, Documents: documents}
	first, err := s.client.Ingest(ctx, request)
	if err != nil {
		return err
	}
	if first.GetUpsertedCount() != 4 || first.GetUpdatedCount() != 0 || first.GetEmbeddedCount() != 4 {
		return fmt.Errorf("first: %v", first)
	}
	again, err := s.client.Ingest(ctx, request)
	if err != nil {
		return err
	}
	return expect(again.GetUnchangedCount() == 4 && again.GetUpsertedCount() == 0, "again: %v", again)
}

func (s *story) ingestStream(ctx context.Context) error {
	numbered := func(yield func(*pgfoxv1.Document, error) bool) {
		for i := range 300 {
			text := fmt.Sprintf("Note %d is about the number %d and nothing else", i, i*i)
			if !yield(&pgfoxv1.Document{Id: fmt.Sprintf("note-%d", i), Text: text}, nil) {
				return
			}
		}
	}
	acknowledged := 0
	totals, err := s.client.IngestAll(ctx, s.collection, numbered, &pgfox.IngestOptions{
		DocumentsPerRequest: 100,
		OnAcknowledged:      func(pgfox.IngestTotals, []pgfox.SkippedDocument) { acknowledged++ },
	})
	if err != nil {
		return err
	}
	if totals.Documents != 300 || totals.Upserted != 300 || totals.Embedded != 300 || acknowledged != 3 {
		return fmt.Errorf("%+v in %d acknowledgements", totals, acknowledged)
	}
	return s.expectCount(ctx, s.collection, nil, 304)
}

func (s *story) expectCount(ctx context.Context, collection string, filter *pgfoxv1.Filter, expected int64) error {
	counted, err := s.client.CountDocuments(ctx, &pgfoxv1.CountDocumentsRequest{Collection: collection, Filter: filter})
	if err != nil {
		return err
	}
	return expect(counted.GetCount() == expected, "%d documents in %s instead of %d", counted.GetCount(), collection, expected)
}

func (s *story) buildIndex(ctx context.Context) error {
	build, err := s.client.BuildIndex(ctx, &pgfoxv1.BuildIndexRequest{
		Collection: s.collection,
		Spec:       &pgfoxv1.IndexSpec{Kind: &pgfoxv1.IndexSpec_Hnsw{Hnsw: &pgfoxv1.Hnsw{}}},
	})
	if err != nil {
		return err
	}
	var last *pgfoxv1.BuildIndexResponse
	for {
		progress, err := build.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if progress.GetFractionDone() < last.GetFractionDone() {
			return fmt.Errorf("the fraction fell from %v to %v", last.GetFractionDone(), progress.GetFractionDone())
		}
		last = progress
	}
	return expect(last.GetPhase() == pgfoxv1.IndexPhase_INDEX_PHASE_READY, "the last phase is %v", last.GetPhase())
}

// resume ingests through a proxy that breaks three connections, and keeps the acknowledgements of the second one to itself.
func (s *story) resume(ctx context.Context) error {
	if _, err := s.client.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{Collection: &pgfoxv1.Collection{
		Name:      s.vectors,
		Embedding: &pgfoxv1.Embedding{Dimensions: dimensions},
	}}); err != nil {
		return err
	}
	cut, err := pgfox.Connect(s.cutEndpoint)
	if err != nil {
		return err
	}
	defer cut.Close()
	const count = 2000
	interruptions := 0
	totals, err := cut.IngestAll(ctx, s.vectors, pgfox.Documents(vectorDocuments(count)), &pgfox.IngestOptions{
		DocumentsPerRequest: 50,
		OnInterrupted:       func(error, time.Duration) { interruptions++ },
	})
	if err != nil {
		return err
	}
	// What was stored without an acknowledgement is unchanged when it is sent again.
	if interruptions < 3 || totals.Documents != count || totals.Unchanged == 0 || totals.Upserted+totals.Unchanged != count {
		return fmt.Errorf("%d interruptions, %+v", interruptions, totals)
	}
	if err := s.expectCount(ctx, s.vectors, nil, count); err != nil {
		return err
	}
	var expected, stored []string
	for document := range vectorDocuments(count) {
		expected = append(expected, document.GetId())
	}
	for document, err := range s.client.AllDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: s.vectors, PageSize: 1000}) {
		if err != nil {
			return err
		}
		if document.GetVersion() != 1 {
			return fmt.Errorf("%s was written %d times", document.GetId(), document.GetVersion())
		}
		stored = append(stored, document.GetId())
	}
	return expect(slices.Equal(stored, expected), "not every id is there once: %d are", len(stored))
}

// vectorDocuments gives documents in the order of their ids, each with another vector.
func vectorDocuments(count int) iter.Seq[*pgfoxv1.Document] {
	return func(yield func(*pgfoxv1.Document) bool) {
		for i := range count {
			values := make([]float32, dimensions)
			for d := range values {
				values[d] = float32((i*31+d*17)%1000) / 1000
			}
			if !yield(&pgfoxv1.Document{Id: fmt.Sprintf("v-%05d", i), Vector: &pgfoxv1.Vector{Values: values}}) {
				return
			}
		}
	}
}

func (s *story) delete(ctx context.Context) error {
	deleted, err := s.client.DeleteDocuments(ctx, &pgfoxv1.DeleteDocumentsRequest{Collection: s.collection, Filter: since2000()})
	if err != nil {
		return err
	}
	if deleted.GetDeletedCount() != 3 {
		return fmt.Errorf("deleted: %v", deleted)
	}
	if err := s.expectCount(ctx, s.collection, nil, 301); err != nil {
		return err
	}
	for _, name := range []string{s.collection, s.vectors} {
		if _, err := s.client.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{Name: name}); err != nil {
			return err
		}
		_, err := s.client.GetCollection(ctx, &pgfoxv1.GetCollectionRequest{Name: name})
		if _, err := expectFailure(err, codes.NotFound, pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND); err != nil {
			return err
		}
	}
	return nil
}
