// A program as a caller would write it: it keeps a catalogue of 1,000 articles, and continues when a call fails.
//
// archive.sh builds it in an empty project from the archive of the client.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

const (
	articles   = 1000
	dimensions = 8
)

// article is the data of an article without its vector.
type article struct {
	Name     string    `json:"name"`
	Price    float64   `json:"price"`
	Stock    int64     `json:"stock"`
	Added    time.Time `json:"added"`
	Tags     []string  `json:"tags,omitempty"`
	Variants []variant `json:"variants"`
}

type variant struct {
	Color string `json:"color"`
}

type catalogue struct {
	*pgfox.Client
	name string
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal("FAILED archive: ", err)
	}
	fmt.Println("ok archive")
}

func run(ctx context.Context) error {
	client, err := pgfox.Connect(os.Getenv("PGFOX_SERVER"))
	if err != nil {
		return err
	}
	defer client.Close()
	c := catalogue{client, os.Getenv("STORY_COLLECTION") + "_catalogue"}
	for _, step := range []func(context.Context) error{
		c.createOnce, c.createOnce, c.fill, c.sellOut, c.readBack, c.stopHalfway, c.hurry,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	_, err = c.DeleteCollection(ctx, &pgfoxv1.DeleteCollectionRequest{Name: c.name})
	return err
}

func (c catalogue) createOnce(ctx context.Context) error {
	_, err := c.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{Collection: &pgfoxv1.Collection{
		Name:      c.name,
		Embedding: &pgfoxv1.Embedding{Dimensions: dimensions},
	}})
	if pgfox.ReasonOf(err) == pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_EXISTS {
		return nil
	}
	return err
}

// documents returns the articles as documents.
func documents(yield func(*pgfoxv1.Document, error) bool) {
	added := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	colors := []string{"red", "green", "blue"}
	for i := range articles {
		metadata, err := pgfox.NewMetadata(article{
			Name:     fmt.Sprintf("Article %d", i),
			Price:    float64(i) + 0.5,
			Stock:    int64(i % 10),
			Added:    added.AddDate(0, 0, i),
			Variants: []variant{{colors[i%3]}, {"black"}},
		})
		vector := &pgfoxv1.Vector{Values: make([]float32, dimensions)}
		for d := range vector.Values {
			vector.Values[d] = float32((i*7+d*3)%11) + 1
		}
		if !yield(&pgfoxv1.Document{Id: fmt.Sprintf("a%04d", i), Vector: vector, Metadata: metadata}, err) {
			return
		}
	}
}

func (c catalogue) fill(ctx context.Context) error {
	totals, err := c.IngestAll(ctx, c.name, documents, nil)
	if err == nil && totals.Upserted != articles {
		err = fmt.Errorf("filled: %+v", totals)
	}
	return err
}

// sellOut deletes by a filter the articles that were added early and are not in stock.
func (c catalogue) sellOut(ctx context.Context) error {
	filter, err := pgfox.And(
		pgfox.Field("stock").Equals(0),
		pgfox.Not(pgfox.Field("added").Since(time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC))),
		pgfox.Field("tags").IsNull(),
	).Build()
	if err != nil {
		return err
	}
	deleted, err := c.DeleteDocuments(ctx, &pgfoxv1.DeleteDocumentsRequest{Collection: c.name, Filter: filter})
	if err == nil && deleted.GetDeletedCount() != 3 {
		err = fmt.Errorf("sold out: %v", deleted)
	}
	return err
}

func (c catalogue) readBack(ctx context.Context) error {
	filter, err := pgfox.Or(pgfox.Field("price").LessThan(100), pgfox.IDs("a0500")).Build()
	if err != nil {
		return err
	}
	request := &pgfoxv1.ListDocumentsRequest{Collection: c.name, Filter: filter, PageSize: 30}
	count := 0
	for document, err := range c.AllDocuments(ctx, request) {
		if err != nil {
			return err
		}
		var read article
		if err := pgfox.ReadMetadata(document.GetMetadata(), &read); err != nil {
			return err
		}
		if stock := pgfox.MetadataMap(document.GetMetadata())["stock"]; stock != read.Stock || read.Variants[1].Color != "black" {
			return fmt.Errorf("read back: %v of %T, %+v", stock, stock, read)
		}
		count++
	}
	if count != 98 {
		return fmt.Errorf("read back: %d", count)
	}
	return nil
}

// stopHalfway cancels an ingest once a part of it is stored.
func (c catalogue) stopHalfway(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	totals, err := c.IngestAll(ctx, c.name, documents, &pgfox.IngestOptions{
		DocumentsPerRequest: 10,
		OnAcknowledged:      func(pgfox.IngestTotals, []pgfox.SkippedDocument) { cancel() },
	})
	if !errors.Is(err, context.Canceled) || totals.Documents == 0 || totals.Documents == articles {
		return fmt.Errorf("stopped halfway: %+v, %w", totals, err)
	}
	return nil
}

// hurry gives a call less time than it needs.
func (c catalogue) hurry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Microsecond)
	defer cancel()
	_, err := c.ListDocuments(ctx, &pgfoxv1.ListDocumentsRequest{Collection: c.name})
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("in a hurry: %w", err)
	}
	return nil
}
