package pgfox_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// The code of the README must be that of the quick start and of the functions below, so that it compiles.
func TestTheReadmeShowsRealCode(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	indentation := regexp.MustCompile(`(?m)^\t+`)
	real := read("examples/quickstart/main.go") + indentation.ReplaceAllString(read("readme_test.go"), "")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read("README.md"), -1)
	if len(blocks) < 5 || blocks[0][1] != read("examples/quickstart/main.go") {
		t.Error("the quick start is another one")
	}
	for _, block := range blocks {
		for part := range strings.SplitSeq(block[1], "\n\n") {
			if !strings.Contains(real, part) && !strings.Contains(real, indentation.ReplaceAllString(part, "")) {
				t.Errorf("not in readme_test.go:\n%s", part)
			}
		}
	}
}

func readmeConnect(key string) (*pgfox.Client, error) {
	client, err := pgfox.Connect("https://pgfox.example.com:50051", pgfox.WithAPIKey(key), pgfox.WithTimeout(5*time.Second))
	return client, err
}

func readmeConn(ctx context.Context, client *pgfox.Client) (*healthpb.HealthCheckResponse, error) {
	health, err := healthpb.NewHealthClient(client.Conn()).Check(ctx, &healthpb.HealthCheckRequest{})
	return health, err
}

func readmeMetadata(document *pgfoxv1.Document) (any, error) {
	metadata, err := pgfox.NewMetadata(map[string]any{"year": 1999, "genres": []string{"Crime", "Thriller"}, "added": time.Now()})
	if err != nil {
		return nil, err
	}
	document.Metadata = metadata

	plain := pgfox.MetadataMap(document.GetMetadata())
	year, isInteger := plain["year"].(int64)

	var film struct {
		Year   int      `json:"year"`
		Genres []string `json:"genres"`
	}
	err = pgfox.ReadMetadata(document.GetMetadata(), &film)
	log.Print(year, isInteger)
	return film, err
}

func readmeFilter(ctx context.Context, client *pgfox.Client, names []string) (*pgfoxv1.SearchResponse, error) {
	filter, err := pgfox.And(
		pgfox.Field("year").AtLeast(1990),
		pgfox.Or(pgfox.Field("genres").ContainsAny("Crime", "Thriller"), pgfox.Field("title").IgnoreCase().ContainsText("heist")),
		pgfox.Not(pgfox.Field("director.name").OneOf(pgfox.Any(names)...)),
	).Build()
	if err != nil {
		return nil, err
	}
	found, err := client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: "films",
		Query:      &pgfoxv1.SearchRequest_Text{Text: "a heist that goes wrong"},
		Filter:     filter,
	})
	return found, err
}

func readmeList(ctx context.Context, client *pgfox.Client) error {
	for document, err := range client.AllDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: "films"}) {
		if err != nil {
			return err
		}
		log.Print(document.GetId())
	}
	return nil
}

func readmeReason(ctx context.Context, client *pgfox.Client) error {
	_, err := client.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{Name: "films"})
	if pgfox.ReasonOf(err) == pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND {
		err = nil
	}
	return err
}

func readmeIngest(ctx context.Context, client *pgfox.Client, lines *bufio.Scanner) (pgfox.IngestTotals, error) {
	documents := func(yield func(*pgfoxv1.Document, error) bool) {
		for lines.Scan() {
			if !yield(&pgfoxv1.Document{Id: hash(lines.Text()), Text: lines.Text()}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
	totals, err := client.IngestAll(ctx, "films", documents, &pgfox.IngestOptions{SkipInvalid: true})
	return totals, err
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func readmeErrors(err error) {
	var failure *pgfox.Error
	if errors.As(err, &failure) {
		switch failure.Reason {
		case pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_NOT_FOUND:
			log.Print("create it first: ", failure.Metadata["collection"])
		case pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD:
			for _, violation := range failure.Violations {
				log.Print(violation.Field, " ", violation.Rule)
			}
		default:
			log.Print(failure.Code, " ", failure.Message, " request ", failure.RequestID)
		}
	}
}

// Not run: they need a server, which the stories in tests/clients have.
var _ = []any{readmeConnect, readmeMetadata, readmeFilter, readmeList, readmeIngest, readmeReason, readmeErrors}
