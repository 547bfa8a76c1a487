// Stores four sentences about foxes and asks which one answers a question.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	options := []pgfox.Option{pgfox.WithAPIKey(os.Getenv("PGFOX_API_KEY"))}
	if file := os.Getenv("PGFOX_CA"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		options = append(options, pgfox.WithCA(pem))
	}
	client, err := pgfox.Connect(os.Getenv("PGFOX_SERVER"), options...)
	if err != nil {
		return err
	}
	defer client.Close()

	_, err = client.CreateCollection(ctx, &pgfoxv1.CreateCollectionRequest{
		Collection: &pgfoxv1.Collection{Name: "foxes"},
	})
	if pgfox.ReasonOf(err) == pgfoxv1.ErrorReason_ERROR_REASON_COLLECTION_EXISTS {
		fmt.Println("The collection exists already.")
	} else if err != nil {
		return err
	}

	var documents []*pgfoxv1.Document
	for id, text := range map[string]string{
		"diet":    "Foxes are omnivores: predators of small animals that also eat fruit",
		"sounds":  "Foxes can make over 40 different sounds",
		"hunting": "Foxes use the magnetic field of the Earth when they hunt",
		"kits":    "Baby foxes are called kits",
	} {
		metadata, err := pgfox.NewMetadata(map[string]any{"topic": id, "language": "en"})
		if err != nil {
			return err
		}
		documents = append(documents, &pgfoxv1.Document{Id: id, Text: text, Metadata: metadata})
	}
	stored, err := client.Ingest(ctx, &pgfoxv1.IngestRequest{Collection: "foxes", Documents: documents})
	if err != nil {
		return err
	}
	fmt.Printf("%d stored, %d unchanged\n", stored.GetUpsertedCount(), stored.GetUnchangedCount())

	build, err := client.BuildIndex(ctx, &pgfoxv1.BuildIndexRequest{Collection: "foxes"})
	if err != nil {
		return err
	}
	for {
		progress, err := build.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		fmt.Printf("Index: %3.0f %% %v\n", 100*progress.GetFractionDone(), progress.GetPhase())
	}

	found, err := client.Search(ctx, &pgfoxv1.SearchRequest{
		Collection: "foxes",
		Query:      &pgfoxv1.SearchRequest_Text{Text: "I was wondering, how many sounds can foxes make?"},
		Limit:      1,
	})
	if err != nil {
		return err
	}
	for _, result := range found.GetResults() {
		fmt.Printf("Distance: %.4f, Content: %s\n", result.GetDistance(), result.GetDocument().GetText())
	}
	return nil
}
