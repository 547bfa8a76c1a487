//! Stores four sentences, builds an index and asks a question. Needs a server: `cargo run --release --bin pgfox-server`.

use pgfox_client::{ConnectOptions, IngestOptions, connect, error, ingest, v1};

const SENTENCES: [&str; 4] = [
    "Foxes are omnivores: predators of small animals that also eat fruit",
    "Foxes can make over 40 different sounds",
    "Foxes use the magnetic field of the Earth when they hunt",
    "Baby foxes are called kits",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::var("PGFOX_SERVER").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let api_key = std::env::var("PGFOX_API_KEY").ok();
    let ca_pem = std::env::var("PGFOX_CA").ok().map(std::fs::read).transpose()?;
    let mut client = connect(&ConnectOptions { api_key, ca_pem, ..ConnectOptions::new(server) }).await?;

    let collection = v1::Collection { name: "foxes".into(), ..Default::default() };
    match client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await
    {
        Err(status) if error::reason(&status) == Some(v1::ErrorReason::CollectionExists) => {}
        answer => drop(answer?),
    }

    let documents = SENTENCES.iter().enumerate().map(|(i, text)| {
        let document = v1::Document { id: format!("fox-{}", i + 1), text: (*text).into(), ..Default::default() };
        Ok::<_, std::convert::Infallible>(document)
    });
    let totals = ingest(&client, "foxes", tokio_stream::iter(documents), &IngestOptions::default(), |_| {}).await?;
    println!("{} documents stored, {} of them new or changed", totals.documents, totals.upserted);

    let request = v1::BuildIndexRequest { collection: "foxes".into(), ..Default::default() };
    let mut progress = client.build_index(request).await?.into_inner();
    while let Some(step) = progress.message().await? {
        println!("{} {:.0} %", step.phase().as_str_name(), step.fraction_done * 100.0);
    }

    let query = v1::search_request::Query::Text("I was wondering, how many sounds can foxes make?".into());
    let request = v1::SearchRequest { collection: "foxes".into(), query: Some(query), limit: 1, ..Default::default() };
    for result in client.search(request).await?.into_inner().results {
        println!("Distance: {:.4}, Content: {}", result.distance(), result.document.unwrap_or_default().text);
    }
    Ok(())
}
