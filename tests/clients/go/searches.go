package main

import (
	"context"
	"fmt"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const (
	question = "I was wondering, how many sounds can foxes make?"
	answer   = "Foxes can make over 40 different sounds"
)

func (s *story) searchText(ctx context.Context) error {
	found, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_Text{Text: question},
		Limit:      5,
	})
	if err != nil {
		return err
	}
	if len(found.GetResults()) != 5 {
		return fmt.Errorf("%d results instead of 5", len(found.GetResults()))
	}
	first := found.GetResults()[0]
	if first.GetDocument().GetText() != answer || first.Distance == nil || first.GetDistance() <= 0 {
		return fmt.Errorf("the first result is %v", first)
	}
	return expect(found.GetCompleteness() != pgfoxv1.Completeness_COMPLETENESS_UNSPECIFIED, "no completeness")
}

func (s *story) searchVector(ctx context.Context) error {
	got, err := s.client.GetDocuments(ctx, &pgfoxv1.GetDocumentsRequest{
		Collection: s.collection, Ids: []string{"hunting"}, IncludeVector: true,
	})
	if err != nil {
		return err
	}
	vector := got.GetDocuments()[0].GetVector()
	if len(vector.GetValues()) != dimensions {
		return fmt.Errorf("the vector has %d dimensions", len(vector.GetValues()))
	}
	found, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_Vector{Vector: vector},
		Limit:      1,
	})
	if err != nil {
		return err
	}
	results := found.GetResults()
	return expect(len(results) == 1 && results[0].GetDocument().GetId() == "hunting" && results[0].GetDistance() < 1e-3, "found %v", results)
}

func (s *story) searchID(ctx context.Context) error {
	found, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_DocumentId{DocumentId: "sounds"},
		Limit:      3,
	})
	if err != nil {
		return err
	}
	if len(found.GetResults()) != 3 {
		return fmt.Errorf("%d results instead of 3", len(found.GetResults()))
	}
	for _, result := range found.GetResults() {
		if result.GetDocument().GetId() == "sounds" {
			return fmt.Errorf("the document finds itself")
		}
	}
	return nil
}

// since2000 matches three of the four foxes and none of the notes.
func since2000() *pgfoxv1.Filter {
	filter, err := pgfox.And(pgfox.Field("year").AtLeast(2000), pgfox.Field("topic").Exists()).Build()
	if err != nil {
		panic(err)
	}
	return filter
}

func (s *story) filter(ctx context.Context) error {
	found, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_Text{Text: question},
		Filter:     since2000(),
	})
	if err != nil {
		return err
	}
	listed, err := s.client.ListDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: s.collection, Filter: since2000()})
	if err != nil {
		return err
	}
	if len(found.GetResults()) != 3 || len(listed.GetDocuments()) != 3 {
		return fmt.Errorf("found %d and listed %d instead of 3", len(found.GetResults()), len(listed.GetDocuments()))
	}
	documents := listed.GetDocuments()
	for _, result := range found.GetResults() {
		documents = append(documents, result.GetDocument())
	}
	for _, document := range documents {
		if year, is := pgfox.MetadataMap(document.GetMetadata())["year"].(int64); !is || year < 2000 {
			return fmt.Errorf("%q does not match", document.GetId())
		}
	}
	return s.expectCount(ctx, s.collection, since2000(), 3)
}
