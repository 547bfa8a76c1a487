//! Keys and certificates that change while a server runs, and the effect of signals, terminals and command lines.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use tokio::io::AsyncBufReadExt as _;
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig},
};

use crate::{
    process::{ServerProcess, command},
    provider::Provider,
    support::{Client, cluster, create_database, eventually, in_time, sql},
};

const FIRST: &str = "the-first-key-of-a-caller";
const SECOND: &str = "the-second-key-of-a-caller";

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server without a terminal, as a service manager starts it.
async fn start(settings: &[(&str, &Path)]) -> ServerProcess {
    start_on(settings, Some(create_database(&cluster(18).postgres).await)).await
}

async fn start_on(settings: &[(&str, &Path)], database_url: Option<String>) -> ServerProcess {
    let server = command("pgfox-server");
    // The child of a test leads no group, so that setsid becomes the server instead of starting it.
    let mut detached = tokio::process::Command::new("setsid");
    detached.arg(server.as_std().get_program()).args(["--listen", "127.0.0.1:0", "--default-model", "none"]);
    for (name, value) in server.as_std().get_envs() {
        detached.env(name, value.unwrap_or_default());
    }
    detached.envs(database_url.map(|url| ("DATABASE_URL", url))).kill_on_drop(true);
    detached.envs(settings.iter().copied()).stdin(Stdio::null());
    ServerProcess::spawn(detached).await
}

/// The code that a call with a key is answered with.
async fn call(client: &mut Client, key: &str) -> Code {
    let mut request = Request::new(v1::ListCollectionsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    client.list_collections(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn log_has(server: &ServerProcess, text: &str) {
    eventually(&format!("the log says {text:?}"), async || server.log().contains(text)).await;
}

#[tokio::test]
async fn keys_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    write_secret(&keys, FIRST);
    let server = start(&[("PGFOX_API_KEYS_FILE", &keys)]).await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("the server is ready", async || call(&mut client, FIRST).await == Code::Ok).await;
    assert_eq!(call(&mut client, SECOND).await, Code::Unauthenticated);

    // Without being asked: Kubernetes swaps links like this.
    write_secret(&folder.path().join("renewed"), SECOND);
    std::os::unix::fs::symlink("renewed", folder.path().join("link")).unwrap();
    std::fs::rename(folder.path().join("link"), &keys).unwrap();
    eventually("the new key is known", async || call(&mut client, SECOND).await == Code::Ok).await;
    assert_eq!(call(&mut client, FIRST).await, Code::Unauthenticated, "by the same connection");
    log_has(&server, "API keys: read again").await;

    // If the new contents cannot be used, the old ones stay in use, whatever is wrong.
    for (text, mode, reported) in
        [("# none\n", 0o600, "contains no key"), ("short", 0o600, "openssl rand"), (FIRST, 0o644, "chmod 640")]
    {
        std::fs::write(&keys, text).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
        server.signal("HUP");
        log_has(&server, reported).await;
        assert_eq!(
            (call(&mut client, SECOND).await, call(&mut client, FIRST).await),
            (Code::Ok, Code::Unauthenticated)
        );
    }
    assert!(server.log().contains("ERROR") && !server.log().contains(FIRST), "{}", server.log());
    std::fs::remove_file(&keys).unwrap();
    server.signal("HUP");
    log_has(&server, "No such file").await;
    assert_eq!(call(&mut client, SECOND).await, Code::Ok);
    write_secret(&keys, &format!("{FIRST}\n{SECOND}\n"));
    eventually("both are known", async || call(&mut client, FIRST).await == Code::Ok).await;
    server.kill().await;
}

#[tokio::test]
async fn the_password_of_the_database_is_read_again() {
    let postgres = &cluster(18).postgres;
    let admin = sql(postgres.database_url()).await;
    admin.batch_execute("CREATE ROLE rotated SUPERUSER LOGIN PASSWORD 'one'").await.unwrap();
    let database_url = create_database(postgres).await;
    let (_, place) = database_url.rsplit_once('@').unwrap();
    let url = |password: &str, place: &str| format!("postgresql://rotated:{password}@{place}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    write_secret(&file, &url("one", place));
    let server = start_on(&[("PGFOX_DATABASE_URL_FILE", &file)], None).await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("the server is ready", async || call(&mut client, FIRST).await == Code::Ok).await;

    let end = "ALTER ROLE rotated PASSWORD 'two';
               SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'";
    admin.batch_execute(end).await.unwrap();
    eventually("the old password is of no use", async || call(&mut client, FIRST).await != Code::Ok).await;
    write_secret(&file, &url("two", place));
    eventually("the new password is in use", async || call(&mut client, FIRST).await == Code::Ok).await;

    // Another database is not used instead.
    write_secret(&file, postgres.database_url());
    server.signal("HUP");
    log_has(&server, "restart the server to use another database").await;
    assert_eq!(call(&mut client, FIRST).await, Code::Ok);
    assert!(!server.log().contains("two@"), "{}", server.log());
    server.kill().await;
}

#[tokio::test]
async fn the_key_of_the_provider_is_read_again() {
    let provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openai-key");
    write_secret(&file, &format!("{FIRST}\n"));
    let base_url = provider.base_url();
    let settings = [("PGFOX_OPENAI_API_KEY_FILE", file.as_path()), ("OPENAI_BASE_URL", Path::new(&base_url))];
    let server = start(&settings).await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("the server is ready", async || call(&mut client, FIRST).await == Code::Ok).await;
    let embedding = Some(v1::Embedding { model: "openai/text-embedding-3-small".into(), ..Default::default() });
    let collection = v1::Collection { name: "c".into(), embedding, ..Default::default() };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await
        .unwrap();
    let mut texts = 0;
    let mut authorization = async || {
        texts += 1;
        let documents = vec![crate::support::text_document("a", &format!("text {texts}"))];
        client.ingest(crate::calls::request("c", documents)).await.expect("embedded");
        provider.last_authorization().expect("a key")
    };
    assert_eq!(authorization().await, format!("Bearer {FIRST}"));

    // Without being asked.
    write_secret(&file, SECOND);
    eventually("the new key is in use", async || authorization().await == format!("Bearer {SECOND}")).await;
    log_has(&server, "the key of the provider: read again").await;

    // If the new contents cannot be used, the old ones stay in use.
    write_secret(&file, " \n");
    server.signal("HUP");
    log_has(&server, "the old ones stay in use").await;
    assert_eq!(authorization().await, format!("Bearer {SECOND}"));
    assert!(!server.log().contains(FIRST) && !server.log().contains(SECOND), "{}", server.log());
    server.kill().await;
}

/// A certificate and its key in PEM.
fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

async fn connect(address: &str, authority: &str) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)).domain_name("localhost");
    Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls)?.connect().await
}

#[tokio::test]
async fn certificates_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let ((first, first_key), (second, second_key)) = (pair(), pair());
    std::fs::write(&certificate, &first).unwrap();
    write_secret(&key, &first_key);
    let server = start(&[("PGFOX_TLS_CERT", &certificate), ("PGFOX_TLS_KEY", &key)]).await;
    let mut old = PgfoxServiceClient::new(connect(&server.address, &first).await.unwrap());
    eventually("the server is ready", async || call(&mut old, FIRST).await == Code::Ok).await;

    // The certificate alone does not fit its key.
    std::fs::write(&certificate, &second).unwrap();
    server.signal("HUP");
    log_has(&server, "the private key does not belong to the certificate").await;
    connect(&server.address, &first).await.expect("the old one is in use");
    write_secret(&key, &second_key);
    eventually("the new one is in use", async || connect(&server.address, &second).await.is_ok()).await;
    connect(&server.address, &first).await.expect_err("another certificate");
    assert_eq!(call(&mut old, FIRST).await, Code::Ok, "open connections continue");

    std::fs::write(&certificate, "nonsense").unwrap();
    server.signal("HUP");
    log_has(&server, "contains no certificate in PEM").await;
    connect(&server.address, &second).await.expect("the old one is in use");
    server.kill().await;
}

#[tokio::test]
async fn a_hangup_ends_no_service() {
    let server = start(&[]).await;
    for _ in 0..3 {
        server.signal("HUP");
    }
    log_has(&server, "name no file").await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("it serves", async || call(&mut client, FIRST).await == Code::Ok).await;
    let mut server = server;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
}

/// Runs a program on its own terminal, which closes when the first line comes. Then it waits for the program and prints
/// how it ended.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys
program, terminal = pty.fork()
if program == 0:
    # The environment of the tests may ignore it, as nohup does.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
print(program, flush=True)
sys.stdin.readline()
os.close(terminal)
_, status = os.waitpid(program, 0)
print(os.waitstatus_to_exitcode(status), flush=True)
"#;

#[tokio::test]
async fn a_terminal_that_closes_ends_the_server_and_its_postgres() {
    let data = tempfile::tempdir().unwrap();
    crate::support::remove_at_exit(data.path(), data.path()).unwrap();
    let server = command("pgfox-server");
    let mut python = tokio::process::Command::new("python3");
    for (name, value) in server.as_std().get_envs() {
        python.env(name, value.unwrap_or_default());
    }
    python.args(["-c", ON_A_TERMINAL]).arg(server.as_std().get_program());
    python.args(["--listen", "127.0.0.1:0", "--default-model", "none", "--postgres-memory", "256MB", "--data-dir"]);
    python.arg(data.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut python = python.spawn().expect("Python");
    let mut lines = tokio::io::BufReader::new(python.stdout.take().unwrap()).lines();
    in_time("the program starts", lines.next_line()).await.unwrap().unwrap();
    let stored = data.path().join("database-url");
    eventually("its Postgres runs", async || {
        let url = std::fs::read_to_string(&stored).unwrap_or_default();
        tokio_postgres::connect(url.trim(), tokio_postgres::NoTls).await.is_ok()
    })
    .await;
    let database_url = std::fs::read_to_string(&stored).unwrap();
    eventually("the server uses it", async || {
        let tables = "SELECT FROM pg_tables WHERE schemaname = 'pgfox_internal'";
        !sql(database_url.trim()).await.query(tables, &[]).await.unwrap().is_empty()
    })
    .await;

    // Its log goes to the terminal, which is gone then.
    drop(python.stdin.take());
    let code = in_time("the program ends", lines.next_line()).await.unwrap();
    assert_eq!(code.as_deref(), Some("0"));
    let connected = tokio_postgres::connect(database_url.trim(), tokio_postgres::NoTls).await;
    assert!(connected.is_err(), "its Postgres still runs");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn passwords_leave_the_command_line() {
    let mut with_flags = command("pgfox-server");
    with_flags.args(["--listen", "127.0.0.1:0", "--default-model", "none"]);
    with_flags.args(["--database-url", "postgresql://fox:hunter2@127.0.0.1:1/none"]);
    with_flags.arg("--direct-database-url=postgresql://fox:hunter3@127.0.0.1:1/none");
    let server = ServerProcess::spawn(with_flags).await;
    let shown = std::fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap();
    let shown = String::from_utf8_lossy(&shown).replace('\0', " ");
    assert!(shown.contains("pgfox-server --listen 127.0.0.1:0") && !shown.contains("hunter"), "{shown}");
    let log = server.log();
    assert!(log.contains("WARN") && log.contains("DATABASE_URL") && log.contains("--database-url-file"), "{log}");
    assert!(!log.contains("hunter"), "{log}");

    // Without a password there is nothing to report.
    let mut without = command("pgfox-server");
    without.args(["--listen", "127.0.0.1:0", "--default-model", "none"]);
    without.args(["--database-url", "postgresql://fox@127.0.0.1:1/none"]);
    let other = ServerProcess::spawn(without).await;
    assert!(!other.log().contains("--database-url-file"), "{}", other.log());
    server.kill().await;
    other.kill().await;
}
