//! The invariants of ARCHITECTURE.md that can be seen in the text of the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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

/// Fails for each source that contains one of the words outside the allowed paths. Comments do not count.
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
    only_in(&["server/src/store/"], &["tokio_postgres::", "pgvector::"]);
}

#[test]
fn sql_is_only_in_the_store() {
    // The demo prints a line for psql.
    let allowed = ["server/src/store/", "server/src/program/demo.rs"];
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

/// The rooms of the server from top to bottom. A room may import from its own floor and from those below.
const FLOORS: [&[&str]; 7] = [
    &["config"],
    &["serve"],
    &["follow", "health", "layers", "rpc"],
    &["app", "error"],
    &["rules", "chunk"],
    &["embed", "store", "embedded"],
    &["stats", "blocking", "budget", "words"],
];

/// The rooms that a source names as `crate::room` or in `use crate::{...}`.
fn imported_rooms(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '(') {
            continue; // `pub(in crate::store)` does not import.
        }
        let rest = &code[at + "crate::".len()..];
        let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(list) = rest.strip_prefix('{') else {
            rooms.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut is_start = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_start = true,
                c if is_start && c.is_alphabetic() => {
                    rooms.insert(name(&list[at..]));
                    is_start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

/// The arrows between the rooms of the server.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in sources("server/src") {
        let path = name.strip_prefix("server/src/").unwrap();
        let room = path.split('/').next().unwrap().trim_end_matches(".rs");
        // The program is a crate of its own; `lib.rs` contains only module lines and exports.
        if !["main", "lib", "program"].contains(&room) {
            arrows.entry(room.to_owned()).or_default().extend(imported_rooms(&text));
        }
    }
    for (room, imported) in &mut arrows {
        imported.remove(room);
    }
    arrows
}

#[test]
fn nothing_imports_upwards() {
    let floor = |room: &str| {
        let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
        floor.unwrap_or_else(|| panic!("the room {room} has a floor"))
    };
    let arrows = imports();
    assert!(arrows["rpc"].contains("store") && arrows["store"].contains("stats"), "imports are found: {arrows:?}");
    for (room, imported) in &arrows {
        for other in imported {
            assert!(floor(other) >= floor(room), "{room} imports from {other}, which is above it");
        }
    }
}

#[test]
fn rooms_do_not_import_in_circles() {
    fn visit<'a>(room: &'a str, arrows: &'a BTreeMap<String, BTreeSet<String>>, path: &mut Vec<&'a str>) {
        assert!(!path.contains(&room), "a circle of imports: {} -> {room}", path.join(" -> "));
        path.push(room);
        arrows.get(room).into_iter().flatten().for_each(|other| visit(other, arrows, path));
        path.pop();
    }
    let arrows = imports();
    arrows.keys().for_each(|room| visit(room, &arrows, &mut Vec::new()));
}
