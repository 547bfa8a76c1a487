//! Folders in step with a collection: ids, ignored files, front matter, and --prune.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    Output,
    formats::ids,
    run,
    server::{Server, collection},
};

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

async fn ingest(endpoint: &str, folder: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["ingest", "films"];
    all.extend(arguments);
    run(endpoint, &all, folder, b"", &[]).await
}

fn field(server: &Server, id: &str, name: &str) -> Value {
    let metadata = server.documents("films")[id].metadata.clone().unwrap_or_default();
    match metadata.fields.get(name).and_then(|value| value.kind.clone()) {
        None => Value::Null,
        Some(prost_types::value::Kind::StringValue(text)) => json!(text),
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_has_one_id_however_its_path_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    write(&root, &[("notes/a.md", "# A"), ("notes/deep/b.txt", "b")]);
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let typed = format!("{}/notes/", root.display());
    for path in ["notes", "./notes/", "notes/../notes", typed.as_str()] {
        ingest(&endpoint, &root, &[path]).await.expect(0);
        assert_eq!(ids(&server), ["a.md", "deep/b.txt"], "{path}");
    }
    let output = ingest(&endpoint, &root.join("notes/deep"), &["..", "--json"]).await.expect(0);
    assert_eq!(output.json()["unchanged_count"], 2, "the metadata is the same too");
    assert_eq!(field(&server, "deep/b.txt", "source"), json!(root.join("notes").display().to_string()));

    // Single files: relative to the current folder, or to the root.
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let typed = format!("{}/notes/a.md", root.display());
    for path in ["notes/a.md", "./notes/a.md", "notes/deep/../a.md", typed.as_str()] {
        ingest(&endpoint, &root, &[path]).await.expect(0);
        assert_eq!(ids(&server), ["notes/a.md"], "{path}");
    }
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    for (from, path) in [("", "notes/a.md"), ("notes/deep", "../a.md"), ("", "notes")] {
        let root_flag = root.join("notes").display().to_string();
        ingest(&endpoint, &root.join(from), &[path, "--root", &root_flag]).await.expect(0);
    }
    assert_eq!(ids(&server), ["a.md", "deep/b.txt"]);
    let output = ingest(&endpoint, &root, &["notes/a.md", "--root", "notes/deep"]).await;
    output.expect(2).says(&["notes/a.md is not below --root notes/deep"]);
    // A file that is given twice is read once.
    let output = ingest(&endpoint, &root, &["notes", "notes/a.md", "--json"]).await.expect(0);
    assert_eq!(output.json()["documents"], 2);
}

#[tokio::test]
async fn what_is_left_out_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("a.mdx", "# A"),
            ("b.rst", "B\n="),
            ("c.html", "<p>c"),
            ("d.html", "<p>d"),
            ("LICENSE", "e"),
            ("drafts/f.md", "f"),
            ("build/g.md", "g"),
            (".gitignore", "build/\n"),
        ],
    );
    std::os::unix::fs::symlink("a.mdx", folder.path().join("link.md")).unwrap();
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let output = ingest(&endpoint, folder.path(), &[".", "--exclude", "drafts/"]).await.expect(0);
    output.says(&["4 files ignored: .html 2, links 1, without an ending 1"]);
    assert_eq!(ids(&server), ["a.mdx", "b.rst"]);
    let arguments = [".", "--include", "*.md", "--include", "*.html", "--json"];
    let output = ingest(&endpoint, folder.path(), &arguments).await.expect(0);
    assert_eq!(output.json()["ignored_files"], json!({ ".html": 2, "links": 1 }));
    assert_eq!(ids(&server), ["a.mdx", "b.rst", "drafts/f.md"]);
    let output = ingest(&endpoint, folder.path(), &[".", "--include", "*.html"]).await;
    output.expect(2).says(&["the folder has no file of a known format; 2 files ignored: .html 2"]);
    ingest(&endpoint, folder.path(), &[".", "--include", "a{b"]).await.expect(2).says(&["--include a{b"]);
}

#[tokio::test]
async fn files_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("a.md", "---\ntitle: The fox\nlang: en\n---\n# About foxes\n\ntext\n"),
        ("b.md", "---\nbroken: [\n---\n# B\n"),
        ("c.txt", "# no heading"),
    ];
    write(folder.path(), &files);
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let output = ingest(&endpoint, folder.path(), &["."]).await.expect(0);
    output.says(&["./b.md: the front matter stays in the text, because it is not YAML"]);
    let read = |id: &str| ["path", "title", "heading", "lang"].map(|name| field(&server, id, name));
    assert_eq!(read("a.md"), [json!("a.md"), json!("The fox"), json!("About foxes"), json!("en")]);
    assert_eq!(server.documents("films")["a.md"].text, "# About foxes\n\ntext\n");
    assert_eq!(read("b.md")[1], json!("B"));
    assert_eq!(read("c.txt"), [json!("c.txt"), Value::Null, Value::Null, Value::Null]);
    ingest(&endpoint, folder.path(), &[".", "--metadata-fields", "title"]).await.expect(0);
    assert_eq!(read("a.md"), [Value::Null, json!("The fox"), Value::Null, Value::Null]);
}

#[tokio::test]
async fn prune_deletes_what_is_gone_from_this_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, &[("one/a.md", "a"), ("one/b.md", "b"), ("one/c.txt", "c"), ("two/d.md", "d")]);
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    ingest(&endpoint, root, &["one", "two"]).await.expect(0);
    ingest(&endpoint, root, &["one", "--prune"]).await.expect(0);
    for gone in ["one/b.md", "one/c.txt", "two/d.md"] {
        std::fs::remove_file(root.join(gone)).unwrap();
    }
    // A dry run first, then with --yes. Excluded files stay, and so does the other folder.
    let all = ["a.md", "b.md", "c.txt", "d.md"];
    let output = ingest(&endpoint, root, &["./one", "--prune"]).await.expect(0);
    assert!(output.stdout.contains("would delete 2 documents whose files are gone: b.md, c.txt; --yes deletes"));
    assert_eq!(ids(&server), all);
    let output = ingest(&endpoint, root, &["one", "--prune", "--yes", "--include", "*.md", "--json"]).await.expect(0);
    assert_eq!(output.json()["pruned"], json!({ "ids": ["b.md"], "deleted": true }));
    let output = ingest(&endpoint, root, &["one", "--prune", "--yes"]).await.expect(0);
    assert!(output.stdout.contains("deleted 1 document whose files are gone: c.txt"), "{}", output.stdout);
    assert_eq!(ids(&server), ["a.md", "d.md"]);
    ingest(&endpoint, root, &["one/a.md", "--prune"]).await.expect(2).says(&["--prune needs a folder"]);
    ingest(&endpoint, root, &["two", "--prune", "--yes"]).await.expect(2).says(&["no file of a known format"]);
    assert_eq!(ids(&server), ["a.md", "d.md"]);
}
