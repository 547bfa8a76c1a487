//! The embedded default as a user runs it: the demo, a killed server, health checks.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::{process::binary, support::cache};

/// Maximum time for each test; the first run downloads.
const LIMIT: Duration = Duration::from_secs(300);

/// pgfox-server with `variables` instead of those in the environment of the tests.
fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("pgfox-server"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("PGFOX_") || name.starts_with("OPENAI_") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// The flags of a small embedded default in `dir`.
fn embedded(dir: &Path) -> Vec<String> {
    let (data_dir, cache_dir) = (dir.join("data"), cache().dir);
    ["--data-dir", data_dir.to_str().unwrap(), "--cache-dir", cache_dir.to_str().unwrap(), "--postgres-memory", "256MB"]
        .map(str::to_owned)
        .to_vec()
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments, variables).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running program; killed when a test fails.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    /// Waits for a line with `text` on stderr.
    fn line_with(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else { panic!("no line with {text:?} in {seen:#?}") };
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }

    /// Waits for a line with `text` on stderr and returns what follows it.
    fn wait_for(&self, text: &str) -> String {
        self.line_with(text).split_once(text).unwrap().1.to_owned()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end; returns the exit code and stdout.
    fn finish(mut self) -> (Option<i32>, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap().code(), stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a PostgreSQL of `dir` runs.
fn postgres_runs(dir: &Path) -> bool {
    let pid = std::fs::read_to_string(dir.join("data/postgres/postmaster.pid")).unwrap_or_default();
    pid.lines().next().is_some_and(|pid| Path::new("/proc").join(pid).exists())
}

#[test]
fn the_demo_answers_and_can_be_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let flags = embedded(dir.path());
    let arguments: Vec<&str> =
        ["demo", "--exit", "--listen", "127.0.0.1:0"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    // The demo ignores databases, providers and keys in the environment.
    let variables = [
        ("DATABASE_URL", "postgresql://nobody@192.0.2.1/none"),
        ("OPENAI_API_KEY", "none"),
        ("OPENAI_BASE_URL", "http://192.0.2.1"),
        ("PGFOX_API_KEYS", "none"),
        ("PGFOX_LISTEN", "192.0.2.1:1"),
    ];
    for _ in 0..2 {
        let output = run(&arguments, &variables);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        let distance = stdout.strip_prefix("Distance: ").and_then(|rest| rest.split_once(", "));
        let (distance, content) = distance.unwrap_or_else(|| panic!("{stdout}"));
        assert_eq!(content, "Content: Foxes can make over 40 different sounds\n");
        let distance: f32 = distance.parse().unwrap();
        assert!((distance - 0.4542).abs() < 0.001, "{distance}");
        assert!(stderr.contains("good recall needs more data"), "{stderr}");
        assert!(!postgres_runs(dir.path()), "it stopped");
    }
}

#[test]
fn the_demo_serves_until_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let flags = embedded(dir.path());
    let arguments: Vec<&str> =
        ["demo", "--listen", &address].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let demo = Running::start(command(&arguments, &[]));
    assert!(demo.wait_for(" is in use, so the demo listens on ").contains("127.0.0.1:"));
    let served = demo.wait_for("serves on http://");
    let address = served.split(' ').next().unwrap();
    let psql = demo.line_with("bin/psql ");

    assert!(run(&["healthcheck", "--listen", address], &[]).status.success());
    let psql = Command::new("sh").args(["-c", &psql]).output().unwrap();
    assert!(text(&psql.stdout).contains("Foxes can make over 40 different sounds"), "{}", text(&psql.stderr));
    let data_dir = dir.path().join("data");
    let url = run(&["database-url", "--data-dir", data_dir.to_str().unwrap()], &[]);
    assert!(text(&url.stdout).starts_with("postgresql://postgres:"), "{}", text(&url.stderr));

    demo.signal("TERM");
    let (code, stdout) = demo.finish();
    assert_eq!(code, Some(0));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(!postgres_runs(dir.path()), "it stopped first");
    assert!(!run(&["healthcheck", "--listen", address], &[]).status.success());
}

#[test]
fn a_server_that_was_killed_can_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    // The model has another name, so that no weights are needed.
    let mut flags = embedded(dir.path());
    flags.extend(["--listen", "127.0.0.1:0", "--openai-base-url", "http://127.0.0.1:9/v1"].map(str::to_owned));
    let arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    let first = Running::start(command(&arguments, &[]));
    first.wait_for("listening on http://");
    let second = run(&arguments, &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&first.child.id().to_string()), "{}", text(&second.stderr));

    first.signal("KILL");
    drop(first);
    assert!(postgres_runs(dir.path()), "left behind");
    let again = Running::start(command(&arguments, &[]));
    again.wait_for("listening on http://");
    again.signal("INT");
    assert_eq!(again.finish().0, Some(0));
    assert!(!postgres_runs(dir.path()));
}

#[test]
fn variables_are_checked_as_flags_are() {
    for (name, value) in [("PGFOX_POOL_SIZE", "many"), ("PGFOX_CALL_TIMEOUT", "30"), ("PGFOX_TLS_CERT", "/nonexistent")]
    {
        let output = run(&[], &[(name, value)]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stderr));
    }
}

#[test]
fn variables_count_unless_they_are_empty() {
    let url = "postgresql://fox@127.0.0.1/foxes";
    let output = run(&["database-url"], &[("DATABASE_URL", url)]);
    assert_eq!(text(&output.stdout).trim(), url);

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let output = run(&["database-url"], &[("DATABASE_URL", ""), ("PGFOX_DATA_DIR", folder)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(folder), "{}", text(&output.stderr));
}

#[test]
fn help_shows_no_value_of_the_environment() {
    let output =
        run(&["--help"], &[("DATABASE_URL", "hidden-1"), ("PGFOX_LOG", "hidden-2"), ("OPENAI_API_KEY", "hidden-3")]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("DATABASE_URL") && !stdout.contains("hidden"), "{stdout}");
}

#[test]
fn healthcheck_knows_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The certificate names another machine.
    let pair = rcgen::generate_simple_self_signed(["fox.test".to_owned()]).unwrap();
    let (certificate, key) = (write("cert.pem", pair.cert.pem()), write("key.pem", pair.signing_key.serialize_pem()));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = rcgen::generate_simple_self_signed(["fox.test".to_owned()]).unwrap();
    let other = write("other.pem", other.cert.pem());

    let mut flags = embedded(dir.path());
    flags.extend(["--listen", "127.0.0.1:0", "--openai-base-url", "http://127.0.0.1:9/v1"].map(str::to_owned));
    flags.extend(["--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned));
    let arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server =
        Running::start(command(&arguments, &[("PGFOX_API_KEYS", "key-1-of-many-characters,key-2-of-many-characters")]));
    let address = server.wait_for("listening on https://");

    let healthy = |certificate: &str| {
        let output = run(&["healthcheck", "--listen", &address, "--tls-cert", certificate], &[]);
        output.status.success()
    };
    let ready = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        healthy(&certificate)
    });
    assert!(ready);
    assert!(healthy(&other), "on this machine it may be one that was renewed meanwhile");
    assert!(!run(&["healthcheck", "--listen", &address], &[]).status.success(), "no TLS");
    server.signal("TERM");
    assert_eq!(server.finish().0, Some(0));
}
