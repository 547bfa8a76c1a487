//! Tests of the settings as a whole. They leave the environment of the test process alone; tests of the real binary
//! cover the variables.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn serve(flags: &[&str]) -> ServeArgs {
    let mut command = Cli::command().no_binary_name(true);
    command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let matches = command.try_get_matches_from(flags).unwrap();
    clap::FromArgMatches::from_arg_matches(&matches).map(|cli: Cli| cli.serve).unwrap()
}

/// Writes a file that only its owner can read.
fn secret_file(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
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
    let text = "# who\nsecret-1-of-many-characters\n\n  secret-2-of-many-characters  \n";
    let keys = &secret_file(&dir.path().join("keys"), text);

    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051"] {
        let errors = read(&["--listen", listen]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains("--insecure") && errors[0].contains(listen), "{errors:?}");
        assert_eq!(read(&["--listen", listen, "--insecure"]).unwrap().warnings.len(), 1);
        let settings = read(&["--listen", listen, "--api-keys-file", keys]).unwrap();
        assert!(settings.warnings[0].contains("plain text"), "{:?}", settings.warnings);
        assert_eq!(format!("{:?}", settings.server.api_keys), "2 API keys");
    }
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        assert!(read(&["--listen", listen]).unwrap().warnings.is_empty());
        assert!(read(&["--listen", listen, "--api-keys-file", keys]).unwrap().warnings.is_empty());
    }
}

#[test]
fn metrics_beyond_loopback_need_keys_or_insecure() {
    assert_eq!(read(&[]).unwrap().metrics_listen, None);
    let settings = read(&["--metrics-listen", "127.0.0.1:0"]).unwrap();
    assert_eq!((settings.metrics_listen.as_deref(), settings.warnings.len()), (Some("127.0.0.1:0"), 0));
    let errors = read(&["--metrics-listen", "0.0.0.0:9464"]).unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("--insecure"), "{errors:?}");
    let settings = read(&["--metrics-listen", "0.0.0.0:9464", "--insecure"]).unwrap();
    assert!(settings.warnings[0].contains("0.0.0.0:9464"), "{:?}", settings.warnings);
    assert_eq!(read(&["--metrics-listen", "nonsense"]).unwrap_err().len(), 1);
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
fn the_local_model_is_fetched_when_it_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let key = &secret_file(&dir.path().join("key"), "sk-1\n");
    let fetched = |flags: &[&str]| read(flags).unwrap().needs_fetched_model();

    assert!(!fetched(&["--openai-api-key-file", key]));
    assert!(!fetched(&["--openai-base-url", "http://127.0.0.1:1/v1"]));
    assert!(!fetched(&["--default-model", "local/fox"]));
    assert!(!fetched(&["--default-model", "none"]));
    assert!(fetched(&["--openai-api-key-file", key, "--default-model", FETCHED_MODEL]));

    let own = dir.path().join("all-MiniLM-L6-v2");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("config.json"), "{}").unwrap();
    let models = ["--local-models", dir.path().to_str().unwrap(), "--default-model", FETCHED_MODEL];
    assert!(!fetched(&models), "the operator has it already");
}

#[test]
fn the_defaults_are_those_of_the_library() {
    let server: ServerArgs = args::defaults();
    let limits = server.read(&mut Vec::new(), &mut Vec::new()).limits;
    assert_eq!(format!("{limits:?}"), format!("{:?}", crate::app::Limits::default()));
    let embedding: EmbeddingArgs = args::defaults();
    let cache = Cache { dir: "/c".into(), timeout: std::time::Duration::from_secs(1), progress: Progress::Silent };
    let openai = OpenAiConfig { api_key: None, ..embedding.read(&cache, &mut Vec::new()).openai };
    assert_eq!(format!("{openai:?}"), format!("{:?}", OpenAiConfig::default()));
}

#[test]
fn the_database_can_be_named_by_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| secret_file(&dir.path().join(name), text);
    let url = |flags: &[&str]| read(flags).unwrap().database.url.map(|url| url.expose_secret().to_owned());
    let file = write("url", "postgresql://fox:secret@127.0.0.1/x\n");
    assert_eq!(url(&["--database-url-file", &file]).as_deref(), Some("postgresql://fox:secret@127.0.0.1/x"));
    assert_eq!(url(&[]), None);
    let both = ["--database-url-file", &file, "--database-url", "postgresql://127.0.0.1/y"];
    assert!(read(&both).unwrap_err()[0].contains("give one of them"));
    for bad in [write("empty", "\n"), write("other", "mysql://127.0.0.1/x"), "/nonexistent/url".to_owned()] {
        let errors = read(&["--database-url-file", &bad]).unwrap_err();
        assert!(errors[0].contains("--database-url"), "{errors:?}");
    }
}

#[test]
fn files_that_others_can_read_or_write_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let file = &secret_file(&path, "hidden-1-of-many-characters\n");
    let pair = ["--tls-cert", file, "--tls-key", file];
    for (mode, refused) in [(0o400, false), (0o640, false), (0o660, false), (0o644, true), (0o602, true), (0o444, true)]
    {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for flags in
            [&["--api-keys-file", file][..], &["--openai-api-key-file", file], &["--database-url-file", file], &pair]
        {
            let errors = read(flags).err().unwrap_or_default();
            let told = errors.iter().filter(|error| error.contains("chmod 640") && error.contains(file.as_str()));
            assert_eq!(told.count() == 1, refused, "{mode:o} {flags:?}: {errors:?}");
            assert!(!format!("{errors:?}").contains("hidden"), "{errors:?}");
        }
    }
}

#[test]
fn short_keys_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret_file(&dir.path().join("keys"), "fifteen-letters\nsixteen-letters-\n");
    let errors = read(&["--api-keys-file", &file]).unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("15") && errors[0].contains("openssl rand -hex 32"), "{errors:?}");
    assert!(!errors[0].contains("fifteen"), "{errors:?}");
}

#[test]
fn connections_leave_files_for_others() {
    let mut settings = read(&["--max-connections", "500"]).unwrap();
    settings.bound_connections(1_000_000);
    assert_eq!((settings.server.limits.max_connections, settings.warnings.len()), (500, 0));
    settings.bound_connections(400);
    let most = settings.server.limits.max_connections;
    assert!((200..300).contains(&most), "{most}");
    assert!(settings.warnings[0].contains("ulimit -n") && settings.warnings[0].contains(&most.to_string()));
    settings.bound_connections(64);
    assert_eq!(settings.server.limits.max_connections, 32);
}

#[test]
fn secrets_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = &secret_file(&dir.path().join("file"), "hidden-1-of-many-characters\n");
    let args = serve(&[
        "--database-url",
        "postgresql://fox:hidden-2@127.0.0.1/x",
        "--direct-database-url",
        "postgresql://fox:hidden-3@127.0.0.1/x",
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
    let (config, _) = settings.into_config(&"postgresql://fox:hidden-4@127.0.0.1/x".into()).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn the_demo_knows_no_provider_and_no_keys() {
    let cli = Cli::try_parse_from(["pgfox-server", "demo", "--data-dir", "/d", "--cache-dir", "/c"]).unwrap();
    let Some(Command::Demo(args)) = cli.command else { panic!("not the demo") };
    let settings = Settings::read_demo(&args).unwrap();
    assert!(settings.database.url.is_none() && !settings.embedding.openai.is_enabled());
    assert!(settings.server.api_keys.is_empty() && settings.needs_fetched_model());
}
