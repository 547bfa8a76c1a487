// The story of tests/clients/README.md in Go: one line per step, and an exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// Longest time for the whole story.
const storyTimeout = 3 * time.Minute

// story is the state that the steps share.
type story struct {
	endpoint, tlsEndpoint, cutEndpoint, deadEndpoint string
	ca                                               []byte
	apiKey                                           string
	// The collection of the story, the one without a model, and the one that is attached to the table.
	collection, vectors, attachedCollection string
	table                                   string
	client                                  *pgfox.Client
}

func main() {
	// Not a deadline of the context, which would replace that of the client.
	time.AfterFunc(storyTimeout, func() {
		fmt.Printf("FAILED: not done after %v\n", storyTimeout)
		os.Exit(1)
	})
	if step, err := tell(context.Background()); err != nil {
		fmt.Printf("FAILED %s: %v\n", step, err)
		os.Exit(1)
	}
}

// tell runs the steps, and returns the step that failed, if any, and why.
func tell(ctx context.Context) (step string, err error) {
	var s story
	var ca string
	for name, variable := range map[string]*string{
		"PGFOX_SERVER":      &s.endpoint,
		"PGFOX_TLS_SERVER":  &s.tlsEndpoint,
		"PGFOX_CA":          &ca,
		"PGFOX_API_KEY":     &s.apiKey,
		"PGFOX_CUT_SERVER":  &s.cutEndpoint,
		"PGFOX_DEAD_SERVER": &s.deadEndpoint,
		"STORY_COLLECTION":  &s.collection,
		"STORY_TABLE":       &s.table,
	} {
		if *variable = os.Getenv(name); *variable == "" {
			return "begin", fmt.Errorf("%s is not set; tests/clients/run.sh sets it", name)
		}
	}
	s.vectors = s.collection + "_vectors"
	s.attachedCollection = s.collection + "_attached"
	if s.ca, err = os.ReadFile(ca); err != nil {
		return "begin", err
	}
	if s.client, err = pgfox.Connect(s.endpoint); err != nil {
		return "begin", err
	}
	defer s.client.Close()
	// After a failure the collections still exist.
	defer func() {
		for _, name := range []string{s.collection, s.vectors, s.attachedCollection} {
			_, _ = s.client.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{Name: name})
		}
	}()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"create", s.create},
		{"ingest", s.ingest},
		{"ingest-stream", s.ingestStream},
		{"build-index", s.buildIndex},
		{"search-text", s.searchText},
		{"search-vector", s.searchVector},
		{"search-id", s.searchID},
		{"filter", s.filter},
		{"bad-request", s.badRequest},
		{"deadline", s.deadline},
		{"tls-and-key", s.tlsAndKey},
		{"dead-server", s.deadServer},
		{"resume", s.resume},
		{"attached", s.attached},
		{"delete", s.delete},
	} {
		if err := step.run(ctx); err != nil {
			return step.name, err
		}
		fmt.Println("ok", step.name)
	}
	return "", nil
}

// expect returns an error if something is not true.
func expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// expectFailure checks that a call failed in a certain way and returns the failure.
func expectFailure(err error, code codes.Code, reason pgfoxv1.ErrorReason) (*pgfox.Error, error) {
	var failure *pgfox.Error
	if !errors.As(err, &failure) {
		return nil, fmt.Errorf("%v instead of a *pgfox.Error", err)
	}
	return failure, expect(failure.Code == code && failure.Reason == reason, "expected %v %v, not %v", code, reason, err)
}
