//! Tests of the settings as a whole. The environment of the test process is left alone: variables are tested with the
//! real binary.

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn serve(flags: &[&str]) -> ServeArgs {
    let mut command = Cli::command().no_binary_name(true);
    command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let matches = command.try_get_matches_from(flags).unwrap();
    clap::FromArgMatches::from_arg_matches(&matches)
        .map(|cli: Cli| cli.serve)
        .unwrap()
}

fn read(flags: &[&str]) -> Result<Settings, Vec<String>> {
    Settings::read(&serve(&[&["--data-dir", "/d", "--cache-dir", "/c"], flags].concat()))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    let database: DatabaseArgs = args::defaults();
    assert_eq!(database.schema, "pgfox");
    let _: EmbeddingArgs = args::defaults();
    let _: EmbeddedArgs = args::defaults();
    let _: ServerArgs = args::defaults();
}

#[test]
fn flags_go_to_serve_without_a_subcommand() {
    let cli = Cli::try_parse_from(["pgfox-server", "--pool-size", "3"]).unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.serve.database.pool_size, 3);
    let cli = Cli::try_parse_from(["pgfox-server", "serve", "--pool-size", "3"]).unwrap();
    assert!(matches!(cli.command, Some(Command::Serve(args)) if args.database.pool_size == 3));
}

#[test]
fn a_bind_beyond_loopback_needs_keys_or_insecure() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "# who\nsecret-1\n\n  secret-2  \n").unwrap();
    let keys = keys.to_str().unwrap();

    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051"] {
        let errors = read(&["--listen", listen]).unwrap_err();
        assert!(
            errors.len() == 1 && errors[0].contains("--insecure") && errors[0].contains(listen),
            "{errors:?}"
        );
        assert_eq!(read(&["--listen", listen, "--insecure"]).unwrap().warnings.len(), 1);
        let settings = read(&["--listen", listen, "--api-keys-file", keys]).unwrap();
        assert!(settings.warnings[0].contains("plain text"), "{:?}", settings.warnings);
        assert_eq!(settings.server.api_keys.len(), 2);
    }
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        assert!(read(&["--listen", listen]).unwrap().warnings.is_empty());
        assert!(
            read(&["--listen", listen, "--api-keys-file", keys])
                .unwrap()
                .warnings
                .is_empty()
        );
    }
}

#[test]
fn all_violations_are_reported_at_once() {
    let errors = read(&[
        "--listen",
        "nonsense",
        "--schema",
        "Fox",
        "--tls-cert",
        "/nonexistent/cert",
        "--api-keys-file",
        "/nonexistent/keys",
        "--openai-base-url",
        "localhost",
        "--default-model",
        "gpt",
        "--local-models",
        "/nonexistent/models",
    ])
    .unwrap_err();
    for part in [
        "--listen",
        "--schema",
        "--tls-key",
        "--api-keys-file",
        "--openai-base-url",
        "--default-model",
        "--local-models",
    ] {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:?}");
    }
}

#[test]
fn the_default_model_follows_the_provider() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "sk-1\n").unwrap();
    let key = key.to_str().unwrap();
    let model = |flags: &[&str]| read(flags).unwrap().embedding.default_model;

    assert_eq!(
        model(&["--openai-api-key-file", key]).as_deref(),
        Some("openai/text-embedding-3-small")
    );
    assert_eq!(model(&["--openai-base-url", "http://127.0.0.1:1/v1"]), None);
    assert_eq!(model(&["--default-model", "local/fox"]).as_deref(), Some("local/fox"));
    let both = [
        "--openai-base-url",
        "http://127.0.0.1:1/v1",
        "--default-model",
        "openai/nomic",
    ];
    assert_eq!(model(&both).as_deref(), Some("openai/nomic"));
}

#[test]
fn secrets_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "hidden-1\n").unwrap();
    let file = file.to_str().unwrap();
    let args = serve(&[
        "--database-url",
        "postgresql://fox:hidden-2@127.0.0.1/x",
        "--direct-database-url",
        "hidden-3",
        "--api-keys-file",
        file,
        "--openai-api-key-file",
        file,
        "--data-dir",
        "/d",
        "--cache-dir",
        "/c",
    ]);
    let settings = Settings::read(&args).unwrap();
    let shown = format!("{args:?} {settings:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    let config = settings.with_database("hidden-4".into());
    assert!(!format!("{config:?}").contains("hidden"));
}

#[test]
fn the_demo_knows_no_provider_and_no_keys() {
    let cli = Cli::try_parse_from(["pgfox-server", "demo", "--data-dir", "/d", "--cache-dir", "/c"]).unwrap();
    let Some(Command::Demo(args)) = cli.command else {
        panic!("not the demo")
    };
    let settings = Settings::read_demo(&args).unwrap();
    assert!(settings.database_url.is_none() && settings.embedding.openai.is_none());
    assert!(settings.server.api_keys.is_empty());
    assert_eq!(settings.embedding.default_model.as_deref(), Some(FETCHED_MODEL));
}
