//! An installed Postgres, which has TLS, and certificates for it.
//!
//! The Postgres of the other tests is built without TLS, so this one has to be on the machine: Debian's `postgresql`.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Set if a missing Postgres is a failure, as in CI.
const REQUIRE: &str = "PGFOX_TEST_REQUIRE_TLS";

/// The rules for who may connect, and how.
const PG_HBA: &str = "
local   all postgres    trust
hostssl all with_cert   all cert
host    all with_cert   all reject
host    all with_scram  all scram-sha-256
host    all all         all trust
";

const ROLES: &str = "
CREATE ROLE plain LOGIN;
CREATE ROLE with_cert LOGIN;
CREATE ROLE with_scram LOGIN PASSWORD 'pa ss';
GRANT CREATE ON SCHEMA public TO plain;
";

/// A running Postgres. Stops and disappears when dropped.
///
/// Its certificate is for `db.test` and 127.0.0.1. The role `plain` needs nothing, `with_scram` the password `pa ss`,
/// `with_cert` TLS and a client certificate.
pub(super) struct Cluster {
    process: Child,
    installation: Installation,
    directory: TempDir,
    pub(super) port: u16,
}

impl Cluster {
    /// Starts a Postgres with or without TLS. `None`, with a line on stderr, if none is installed.
    pub(super) fn start(tls: bool) -> Option<Cluster> {
        let directory = tempfile::Builder::new().prefix("pgfox-tls-").tempdir().unwrap();
        let installation = Installation::find(directory.path())?;
        installation.give(directory.path());
        let data = directory.path().join("data");
        let initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        run(installation.program("initdb").args(initdb).arg(&data));
        fs::write(data.join("pg_hba.conf"), PG_HBA).unwrap();
        write_certificates(directory.path());
        for name in ["ca.pem", "server.pem", "server.key"] {
            installation.install(directory.path(), name, name);
        }

        // It is free now. That someone takes it before Postgres does is possible, but not worth a loop.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let mut postgres = installation.program("postgres");
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        postgres.arg("-c").arg(format!("unix_socket_directories={}", directory.path().display()));
        postgres.args(["-c", "fsync=off", "-c", "max_connections=20"]);
        if tls {
            postgres.args(["-c", "ssl=on", "-c", "ssl_cert_file=server.pem", "-c", "ssl_key_file=server.key"]);
            postgres.args(["-c", "ssl_ca_file=ca.pem"]);
        } else {
            postgres.args(["-c", "ssl=off"]);
        }
        let log = File::create(directory.path().join("log")).unwrap();
        let process = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut cluster = Cluster { process, installation, directory, port };
        cluster.wait_until_ready();
        cluster.psql(ROLES);
        Some(cluster)
    }

    /// A file that [`write_certificates`] made.
    pub(super) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Makes the server show another certificate: `name`.pem.
    pub(super) fn use_certificate(&self, name: &str) {
        for kind in ["pem", "key"] {
            self.installation.install(self.directory.path(), &format!("{name}.{kind}"), &format!("server.{kind}"));
        }
        self.psql("SELECT pg_reload_conf();");
    }

    fn psql(&self, sql: &str) {
        let mut psql = self.installation.program("psql");
        psql.args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", sql]);
        run(psql.arg("-h").arg(self.directory.path()).args(["-p", &self.port.to_string()]));
    }

    fn wait_until_ready(&mut self) {
        let status = self.directory.path().join("data/postmaster.pid");
        let give_up = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&status).is_ok_and(|text| text.lines().any(|line| line.trim_end() == "ready")) {
            let ended = self.process.try_wait().unwrap();
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < give_up, "Postgres does not start: {ended:?}\n{}", log());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.installation.program("pg_ctl");
        stop.args(["stop", "--mode=immediate", "--silent", "-D"]).arg(self.directory.path().join("data"));
        if !stop.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The location of the programs, and the user that runs them.
struct Installation {
    bin: PathBuf,
    /// Postgres refuses to run as root: the user and group to run it as then.
    user: Option<(u32, u32)>,
}

impl Installation {
    fn find(directory: &Path) -> Option<Installation> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let bins = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists());
        let Some(bin) = bins.max() else {
            let hint = "no PostgreSQL under /usr/lib/postgresql (Debian's package postgresql)";
            assert!(std::env::var_os(REQUIRE).is_none(), "{hint}, and {REQUIRE} is set");
            // Not eprintln!, whose output a passing test hides.
            std::io::stderr().write_all(format!("skipped a TLS test: {hint}\n").as_bytes()).unwrap();
            return None;
        };
        let is_root = fs::metadata(directory).unwrap().uid() == 0;
        Some(Installation { bin, user: is_root.then(unprivileged_user) })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env_clear().current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Copies a file into the data directory, with the permissions that Postgres requires for keys.
    fn install(&self, directory: &Path, from: &str, to: &str) {
        let to = directory.join("data").join(to);
        fs::copy(directory.join(from), &to).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
        self.give(&to);
    }

    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }
}

/// The user and group ids of postgres, else of nobody.
fn unprivileged_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("a user postgres or nobody to run Postgres as")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes pairs of `.pem` and `.key`: `ca`; `server` and `client` (for the role `with_cert`), signed by that CA;
/// `other-ca`, and `other-client` signed by it; and `lonely`, a server that signed its own certificate.
fn write_certificates(directory: &Path) {
    let write = |name: &str, (certificate, key): (String, String)| {
        fs::write(directory.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(directory.join(format!("{name}.key")), key).unwrap();
    };
    let server_names = ["db.test", "127.0.0.1"];
    for (prefix, common_name) in [("", "pgfox test CA"), ("other-", "another CA")] {
        let mut params = parameters(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join(format!("{prefix}ca.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Issuer::new(params, key);
        let issue = |params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
        };
        write(&format!("{prefix}server"), issue(parameters("db.test", &server_names)));
        write(&format!("{prefix}client"), issue(parameters("with_cert", &[])));
    }
    // As `openssl req -x509` makes it: a CA that is also its only server.
    let mut params = parameters("db.test", &server_names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("lonely", (params.self_signed(&key).unwrap().pem(), key.serialize_pem()));
}

fn parameters(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
