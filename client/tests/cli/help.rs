//! The help of every command is a golden file, so that a change to it is seen. `UPDATE=1 cargo test -p pgfox-client`
//! writes the files again.

use std::path::Path;

use crate::pgfox;

#[tokio::test]
async fn help_is_as_recorded() {
    let commands: [&[&str]; 27] = [
        &[],
        &["collections"],
        &["collections", "create"],
        &["collections", "attach"],
        &["collections", "list"],
        &["collections", "get"],
        &["collections", "update"],
        &["collections", "delete"],
        &["collections", "status"],
        &["collections", "pause"],
        &["collections", "resume"],
        &["collections", "retry-failed"],
        &["ingest"],
        &["build-index"],
        &["indexes"],
        &["indexes", "list"],
        &["indexes", "drop"],
        &["search"],
        &["evaluate"],
        &["get"],
        &["list"],
        &["count"],
        &["facets"],
        &["update-metadata"],
        &["delete"],
        &["health"],
        &["completions"],
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help");
    let mut differing = Vec::new();
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        // The help shows the environment, so it is always the same here.
        let output = pgfox("http://127.0.0.1:50051", &arguments).await.expect(0);
        let name = if command.is_empty() { "pgfox".to_owned() } else { command.join("-") };
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &output.stdout).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != output.stdout {
            differing.push(name);
        }
    }
    assert!(differing.is_empty(), "the help of {differing:?} differs; look at it, then run with UPDATE=1");
}
