//! The invariants of ARCHITECTURE.md that the text of the sources shows.

use std::{fs, path::Path};

/// Rust sources below a folder, with their paths relative to the project.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 3, "sources are found");
    found
}

/// Fails for each source that holds one of the words and is not below one of the allowed paths. Comments do not count.
fn only_in(allowed: &[&str], words: &[&str]) {
    for (name, text) in sources("server/src") {
        if allowed.iter().any(|path| name.starts_with(path)) {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let word = words.iter().find(|word| line.contains(**word));
            assert!(word.is_none(), "{name} holds {word:?}: {line}");
        }
    }
}

#[test]
fn the_database_driver_is_only_in_the_store() {
    only_in(&["server/src/store/"], &["tokio_postgres::", "deadpool::", "pgvector::"]);
}

#[test]
fn sql_is_only_in_the_store() {
    // The demo prints a line for psql.
    let allowed = ["server/src/store/", "server/src/demo.rs"];
    only_in(&allowed, &["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "CREATE TABLE"]);
}

#[test]
fn the_provider_is_only_in_embed() {
    only_in(&["server/src/embed/"], &["async_openai::", "reqwest::"]);
}

#[test]
fn a_status_is_built_only_in_one_place() {
    let built =
        ["Status::new(", "Status::with_", "Status::internal(", "Status::invalid_argument(", "Status::unavailable("];
    only_in(&["server/src/error.rs"], &built);
}

#[test]
fn the_environment_is_read_only_by_the_configuration() {
    only_in(&["server/src/config"], &["env::var", "env::vars"]);
}

#[test]
fn store_and_embed_do_not_know_grpc() {
    for (name, text) in sources("server/src/store").into_iter().chain(sources("server/src/embed")) {
        assert!(!text.contains("tonic::") && !text.contains("pgfox::v1::"), "{name} knows gRPC");
    }
}

#[test]
fn client_and_server_do_not_know_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = |package: &str| fs::read_to_string(root.join(package).join("Cargo.toml")).unwrap();
    assert!(!manifest("server").contains("pgfox-client"));
    assert!(!manifest("client").contains("pgfox-server"));
}
