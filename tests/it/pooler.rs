//! PgBouncer in transaction mode. It lends a session of the database for one transaction, then to another client, and
//! loses prepared statements.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// If set, every test server of a shared cluster goes through a pooler.
const VARIABLE: &str = "PGFOX_TEST_POOLER";

/// A PgBouncer in front of one Postgres. It ends when this is dropped, or when this process ends in any way.
pub(crate) struct Pooler {
    port: u16,
    /// A shell that ends PgBouncer when its input closes.
    shell: Child,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Pooler {
    /// Starts one with at most `sessions` sessions per database. `None` if PgBouncer is not installed. Panics instead
    /// if all tests must use it.
    pub(crate) fn start(database_url: &str, sessions: usize) -> Option<Pooler> {
        let Some((program, version)) = find() else {
            assert!(std::env::var_os(VARIABLE).is_none(), "{VARIABLE} is set, but pgbouncer is not installed");
            eprintln!("skipped: pgbouncer is not installed");
            return None;
        };
        let (login, address, _) = parts(database_url);
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, postgres) = address.rsplit_once(':').expect("a port");
        let folder = tempfile::tempdir().expect("a folder").keep();
        // Another program can take the port before PgBouncer has it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            let mut config = format!(
                "[databases]\n* = host={host} port={postgres} user={user} password={password}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 2000\n\
                 server_idle_timeout = 5\n"
            );
            if version >= (1, 21) {
                config += "max_prepared_statements = 0\n";
            }
            let path = folder.join("pgbouncer.ini");
            fs::File::create(&path).and_then(|mut file| file.write_all(config.as_bytes())).expect("a configuration");
            let script = r#""$@" & pid=$!
                read -r _
                kill "$pid" 2>/dev/null; wait "$pid"
                rm -rf -- "$0""#;
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]).arg(&folder).arg(&program).arg("-q");
            if fs::metadata(&folder).expect("the folder").uid() == 0 {
                shell.args(["-u", "nobody"]);
            }
            shell.arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // Ctrl-C must not end the shell before its work is done.
            shell.process_group(0);
            let pooler = Pooler { port, shell: shell.spawn().expect("a shell") };
            for _ in 0..100 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(pooler);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("PgBouncer does not start");
    }

    /// A database of the Postgres behind it.
    pub(crate) fn url(&self, database_url: &str) -> String {
        let (login, _, database) = parts(database_url);
        format!("postgresql://{login}@127.0.0.1:{}/{database}", self.port)
    }
}

/// If the variable is set: the URL of the database through the pooler that all tests share.
pub(crate) fn in_front_of_all(database_url: &str) -> Option<String> {
    static POOLERS: Mutex<Option<HashMap<String, Pooler>>> = Mutex::new(None);
    std::env::var_os(VARIABLE)?;
    // Only the shared clusters live as long as their poolers.
    let shared = crate::support::shared_urls();
    let (_, address, _) = parts(database_url);
    shared.iter().find(|url| parts(url).1 == address)?;
    let mut poolers = POOLERS.lock().unwrap_or_else(PoisonError::into_inner);
    let poolers = poolers.get_or_insert_default();
    if !poolers.contains_key(address) {
        poolers.insert(address.to_owned(), Pooler::start(database_url, 4)?);
    }
    Some(poolers[address].url(database_url))
}

/// Login, address and the rest of a URL.
fn parts(url: &str) -> (&str, &str, &str) {
    let (_, rest) = url.split_once("://").expect("a URL");
    let (login, rest) = rest.split_once('@').expect("a login");
    let (address, database) = rest.split_once('/').expect("a database");
    (login, address, database)
}

/// The program and its version.
fn find() -> Option<(PathBuf, (u32, u32))> {
    ["pgbouncer", "/usr/sbin/pgbouncer"].into_iter().find_map(|program| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.lines().next()?.strip_prefix("PgBouncer ")?.trim();
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        Some((program.into(), (numbers.next()?, numbers.next()?)))
    })
}
