//! The embedded default: a real PostgreSQL in a temporary folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pgfox_server::{Cache, EmbeddedError, EmbeddedOptions, EmbeddedPostgres, Progress, stored_database_url};

use crate::support::remove_at_exit;

/// A small private PostgreSQL in `dir` that does not wait for disks.
fn options(dir: &Path, major: u32) -> EmbeddedOptions {
    let cache_dir = std::env::var_os("PGFOX_CACHE_DIR")
        .map_or_else(|| pgfox_server::default_dirs().expect("a home folder").cache, PathBuf::from);
    let cache = Cache { dir: cache_dir, timeout: Duration::from_secs(1800), progress: Progress::Silent };
    let settings = [("fsync", "off"), ("logging_collector", "off")];
    EmbeddedOptions {
        major,
        memory: Some(256 << 20),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..EmbeddedOptions::new(dir.to_owned(), cache)
    }
}

/// Runs SQL with psql and returns what it prints.
fn psql(postgres: &EmbeddedPostgres, sql: &str) -> Result<String, String> {
    let mut psql = Command::new(postgres.bin().join("psql"));
    psql.args([postgres.database_url(), "-XAtqc", sql]).env("PGCONNECT_TIMEOUT", "5").stdin(Stdio::null());
    let output = psql.output().expect("psql runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Waits until `done`, at most 30 seconds.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "not in 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// This test binary, even if it was rebuilt while it runs.
fn this_program() -> PathBuf {
    let linux = PathBuf::from("/proc/self/exe");
    if linux.exists() { linux } else { std::env::current_exe().unwrap() }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

async fn data_is_kept_over_a_restart(major: u32) {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), major);
    let postgres = EmbeddedPostgres::start(&options).await.unwrap();
    let url = postgres.database_url().to_owned();
    psql(&postgres, "CREATE EXTENSION vector; CREATE TABLE fox (v vector); INSERT INTO fox VALUES ('[1,2]')").unwrap();
    let version = psql(&postgres, "SHOW server_version").unwrap();
    assert!(version.starts_with(&major.to_string()), "{version}");
    for (setting, value) in [
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
        ("listen_addresses", "127.0.0.1"),
        ("password_encryption", "scram-sha-256"),
        ("shared_buffers", "64MB"),
        ("fsync", "off"),
    ] {
        assert_eq!(psql(&postgres, &format!("SHOW {setting}")).as_deref(), Ok(value), "{setting}");
    }

    assert_eq!(stored_database_url(dir.path()).unwrap().as_deref(), Some(url.as_str()));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dir.path().join("database-url")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let pid = postgres.pid().unwrap();
    postgres.stop().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it has ended");

    // An existing database keeps its version, whatever version is requested.
    let again = EmbeddedPostgres::start(&EmbeddedOptions { major: 18, ..options }).await.unwrap();
    assert_eq!(psql(&again, "SELECT v FROM fox").as_deref(), Ok("[1,2]"));
    assert_eq!(psql(&again, "SHOW server_version").unwrap(), version);
    again.stop().await;
}

#[tokio::test]
async fn data_is_kept_over_a_restart_18() {
    data_is_kept_over_a_restart(18).await;
}

#[tokio::test]
async fn data_is_kept_over_a_restart_16() {
    data_is_kept_over_a_restart(16).await;
}

async fn letters_beyond_ascii_are_letters(major: u32) {
    let dir = tempfile::tempdir().unwrap();
    let postgres = EmbeddedPostgres::start(&options(dir.path(), major)).await.unwrap();
    for (expression, value) in [
        ("lower('ÄÉЯ')", "äéя"),
        ("'FÜCHSE' ILIKE 'füchse' AND 'Ä' ~* 'ä'", "t"),
        ("to_tsvector('simple', '„ÄPFEL“—Füchse')", "'füchse':2 'äpfel':1"),
        // By bytes, whatever the language.
        ("'Z' < 'a' AND 'z' < 'ä'", "t"),
        ("datcollate || ' ' || datctype FROM pg_database WHERE datname = current_database()", "C C.UTF-8"),
    ] {
        assert_eq!(psql(&postgres, &format!("SELECT {expression}")).as_deref(), Ok(value), "{expression}");
    }
    if major >= 17 {
        let locale = "datlocprovider::text || datlocale FROM pg_database WHERE datname = current_database()";
        assert_eq!(psql(&postgres, &format!("SELECT {locale}")).as_deref(), Ok("bC.UTF-8"));
    }
    postgres.stop().await;
}

#[tokio::test]
async fn letters_beyond_ascii_are_letters_18() {
    letters_beyond_ascii_are_letters(18).await;
}

#[tokio::test]
async fn letters_beyond_ascii_are_letters_16() {
    letters_beyond_ascii_are_letters(16).await;
}

#[tokio::test]
async fn runs_as_a_normal_user() {
    if !is_root() {
        return; // Every other test shows the same.
    }
    // This test binary again, as nobody, from a folder that nobody can enter.
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    open(dir.path());
    let exe = dir.path().join("it");
    std::fs::copy(this_program(), &exe).unwrap();
    open(&exe);
    // nobody may have no rights in this process's own folder for temporary files.
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(65534), Some(65534)).unwrap();
    // Downloads first, since only root may be able to write the cache.
    let warm = EmbeddedPostgres::start(&options(&dir.path().join("warm"), 18)).await.unwrap();
    warm.stop().await;
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&exe)
        .args(["--exact", "embedded::data_is_kept_over_a_restart_18"])
        .env("TMPDIR", &temporary)
        .env("PGFOX_CACHE_DIR", options(dir.path(), 18).cache.dir)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn as_root_it_runs_as_another_user() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { run_as: Some("nobody".into()), ..options(dir.path(), 18) };
    let postgres = EmbeddedPostgres::start(&options).await.unwrap();
    let process = format!("/proc/{}", postgres.pid().unwrap());
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(process).unwrap()), 65534);
    postgres.stop().await;
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 18);
    let postgres = EmbeddedPostgres::start(&options).await.unwrap();
    let error = EmbeddedPostgres::start(&options).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{text}");
    assert!(text.contains(&std::process::id().to_string()) && text.contains("--data-dir"), "{text}");
    assert_eq!(psql(&postgres, "SELECT 1").as_deref(), Ok("1"), "the first one is unharmed");
    postgres.stop().await;
}

#[tokio::test]
async fn postgres_is_started_again_when_it_dies() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = EmbeddedPostgres::start(&options(dir.path(), 18)).await.unwrap();
    psql(&postgres, "CREATE TABLE fox AS SELECT 7 AS n").unwrap();
    let pid = postgres.pid();
    postgres.kill().unwrap();
    eventually("a new postmaster", || postgres.pid().is_some() && postgres.pid() != pid).await;
    assert_eq!(psql(&postgres, "SELECT n FROM fox").as_deref(), Ok("7"), "on the same port");
    postgres.stop().await;
}

/// A child of another test, which is killed while its PostgreSQL runs. It does nothing in an ordinary run.
#[tokio::test]
async fn child_that_waits_to_be_killed() {
    let Some(dir) = std::env::var_os("PGFOX_TEST_CHILD_DIR").map(PathBuf::from) else {
        return;
    };
    let postgres = EmbeddedPostgres::start(&options(&dir.join("data"), 18)).await.unwrap();
    psql(&postgres, "CREATE TABLE fox AS SELECT 7 AS n").unwrap();
    if std::env::var_os("PGFOX_TEST_REMOVE").is_some() {
        remove_at_exit(&dir.join("data"), &dir.join("data")).unwrap();
    }
    std::fs::write(dir.join("pid.new"), postgres.pid().unwrap().to_string()).unwrap();
    std::fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Starts the child, kills it as soon as its PostgreSQL runs, and returns the process id of that PostgreSQL.
async fn orphan(dir: &Path, remove: bool) -> String {
    let mut command = Command::new(this_program());
    command.args(["--exact", "embedded::child_that_waits_to_be_killed"]).env("PGFOX_TEST_CHILD_DIR", dir);
    if remove {
        command.env("PGFOX_TEST_REMOVE", "1");
    }
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("the child is up", || dir.join("pid").exists()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::read_to_string(dir.join("pid")).unwrap()
}

#[tokio::test]
async fn an_orphaned_postgres_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let pid = orphan(dir.path(), false).await;
    assert!(Path::new(&format!("/proc/{pid}/exe")).is_symlink() || !cfg!(target_os = "linux"), "it runs on");
    let url = stored_database_url(&dir.path().join("data")).unwrap();
    let postgres = EmbeddedPostgres::start(&options(&dir.path().join("data"), 18)).await.unwrap();
    assert_eq!(psql(&postgres, "SELECT n FROM fox").as_deref(), Ok("7"));
    assert_eq!(Some(postgres.database_url()), url.as_deref(), "saved connections stay good");
    assert_ne!(postgres.pid().map(|pid| pid.to_string()), Some(pid));
    postgres.stop().await;
}

#[tokio::test]
async fn tests_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let pid = orphan(dir.path(), true).await;
    eventually("the data is removed", || !dir.path().join("data").exists()).await;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&command).contains("postgres"), "PostgreSQL still runs");
}

#[tokio::test]
async fn a_lost_password_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 18);
    let postgres = EmbeddedPostgres::start(&options).await.unwrap();
    let old = postgres.database_url().to_owned();
    postgres.stop().await;
    std::fs::remove_file(dir.path().join("database-url")).unwrap();
    let postgres = EmbeddedPostgres::start(&options).await.unwrap();
    assert_ne!(postgres.database_url(), old);
    assert_eq!(psql(&postgres, "SELECT 1").as_deref(), Ok("1"));
    postgres.stop().await;
}

#[tokio::test]
async fn a_failed_start_shows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), 18);
    options.settings.push(("shared_buffers".into(), "a lot".into()));
    let error = EmbeddedPostgres::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("shared_buffers") && error.contains("a lot"), "{error}");
}

#[tokio::test]
async fn binaries_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { postgres_bin: Some("/nonexistent/bin".into()), ..options(dir.path(), 18) };
    let error = EmbeddedPostgres::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/bin/postgres"), "{error}");
}
