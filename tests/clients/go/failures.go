package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const noReason = pgfoxv1.ErrorReason_ERROR_REASON_UNSPECIFIED

func (s *story) badRequest(ctx context.Context) error {
	efSearch := int32(-1)
	_, err := s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_Text{Text: question},
		Limit:      -1,
		Params:     &pgfoxv1.SearchParams{EfSearch: &efSearch},
	})
	failure, err := expectFailure(err, codes.InvalidArgument, pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD)
	if err != nil {
		return err
	}
	rules := map[string]string{}
	for _, violation := range failure.Violations {
		rules[violation.Field] = violation.Rule
	}
	for _, field := range []string{"limit", "params.ef_search"} {
		if rules[field] == "" || !strings.Contains(failure.Error(), field+" "+rules[field]) {
			return fmt.Errorf("%q has no rule in %v", field, failure)
		}
	}
	if failure.RequestID == "" {
		return errors.New("no request id")
	}

	_, err = s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection,
		Query:      &pgfoxv1.SearchRequest_Vector{Vector: &pgfoxv1.Vector{Values: []float32{1, 2, 3}}},
	})
	failure, err = expectFailure(err, codes.InvalidArgument, pgfoxv1.ErrorReason_ERROR_REASON_DIMENSION_MISMATCH)
	if err != nil {
		return err
	}
	if failure.Metadata["expected"] != "384" || failure.Metadata["actual"] != "3" {
		return fmt.Errorf("metadata: %v", failure.Metadata)
	}

	_, err = s.client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: s.collection + "_missing",
		Query:      &pgfoxv1.SearchRequest_Text{Text: question},
	})
	_, err = expectFailure(err, codes.NotFound, pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND)
	return err
}

func (s *story) deadline(ctx context.Context) error {
	request := &pgfoxv1.IngestRequest{Collection: s.collection}
	for i := range 1000 {
		text := strings.Repeat(fmt.Sprintf("The deadline is over before text %d is read. ", i), 20)
		request.Documents = append(request.Documents, &pgfoxv1.Document{Id: fmt.Sprintf("late-%d", i), Text: text})
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := s.client.Ingest(short, request)
	took := time.Since(began)
	var failure *pgfox.Error
	if !errors.As(err, &failure) || failure.Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("expected DEADLINE_EXCEEDED, not %v", err)
	}
	return expect(took < time.Second, "it took %v", took)
}

func (s *story) tlsAndKey(ctx context.Context) error {
	search := func(timeout time.Duration, options ...pgfox.Option) error {
		// Https also without a CA, which alone would say so.
		endpoint := "https://" + strings.TrimPrefix(s.tlsEndpoint, "https://")
		client, err := pgfox.Connect(endpoint, append(options, pgfox.WithTimeout(timeout))...)
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = client.Search(ctx, &pgfoxv1.SearchRequest{
			Collection: s.collection,
			Query:      &pgfoxv1.SearchRequest_DocumentId{DocumentId: "sounds"},
		})
		return err
	}
	if err := search(30*time.Second, pgfox.WithCA(s.ca), pgfox.WithAPIKey(s.apiKey)); err != nil {
		return err
	}
	err := search(30*time.Second, pgfox.WithCA(s.ca))
	if _, err := expectFailure(err, codes.Unauthenticated, pgfoxv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED); err != nil {
		return err
	}
	began := time.Now()
	failure, err := expectFailure(search(30*time.Second, pgfox.WithAPIKey(s.apiKey)), codes.Unavailable, noReason)
	if err != nil {
		return err
	}
	return expect(strings.Contains(failure.Error(), "check the CA") && time.Since(began) < 5*time.Second,
		"without the CA, after %v: %v", time.Since(began), failure)
}

func (s *story) deadServer(ctx context.Context) error {
	client, err := pgfox.Connect(s.deadEndpoint, pgfox.WithTimeout(2*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	began := time.Now()
	_, err = client.ListCollections(ctx, &pgfoxv1.ListCollectionsRequest{})
	took := time.Since(began)
	failure, err := expectFailure(err, codes.Unavailable, noReason)
	if err != nil {
		return err
	}
	text := failure.Error()
	return expect(strings.Contains(text, s.deadEndpoint) && strings.Contains(text, "attempts") && took < 2500*time.Millisecond,
		"after %v: %v", took, text)
}
