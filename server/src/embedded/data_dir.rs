//! The data directory of the embedded default: its lock, the database cluster in it, and how to connect to the cluster.
//!
//! ```text
//! lock            locked while a server uses the directory; contains its process id
//! database-url    the URL for psql and other programs; mode 0600
//! postgres.conf   settings that depend on the machine, written at every start, included by postgresql.conf
//! postgres.log    output of PostgreSQL before it opens its own log in postgres/log
//! postgres/       the cluster, owned by the user that PostgreSQL runs as
//! ```
//!
//! Only `postgres/` belongs to that user: root must not write where another user could have put a link.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rand::distr::{Alphanumeric, SampleString as _};
use tokio::io::AsyncWriteExt as _;

use super::{
    Binaries, EmbeddedError, Options,
    error::quote,
    user::{self, User},
};

/// Makes PostgreSQL read the settings of pgfox. Settings of ALTER SYSTEM are read later and override them.
const INCLUDE: &str = "\n# Settings that pgfox-server writes at every start. Change them with ALTER SYSTEM.\n\
    include_if_exists = '../postgres.conf'\n";

/// The first version of PostgreSQL with its own provider of locales.
const BUILTIN_LOCALES_MAJOR: u32 = 17;

/// Character types for a new cluster, the best first. The system may lack some. The parser of full-text search depends
/// on them, whatever the provider of locales: with C every character beyond ASCII is a letter, even quotation marks and
/// dashes.
const CHARACTER_TYPES: [&str; 3] = ["C.UTF-8", "en_US.UTF-8", "C"];

/// Maximum time for initdb and the single-user mode.
const SETUP_LIMIT: Duration = Duration::from_secs(300);

const DATABASE_URL: &str = "database-url";

/// A data directory whose lock this process holds.
#[derive(Debug)]
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    _lock: File,
}

/// How to connect to the cluster.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) password: String,
    /// 0 until the first start.
    pub(super) port: u16,
}

impl Access {
    pub(super) fn database_url(&self) -> String {
        format!("postgresql://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Parses the output of [`Access::database_url`].
    fn parse(url: &str) -> Option<Access> {
        let rest = url.trim().strip_prefix("postgresql://postgres:")?;
        let (password, rest) = rest.split_once("@127.0.0.1:")?;
        let port = rest.strip_suffix("/postgres")?.parse().ok()?;
        let plain = !password.is_empty() && password.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| Access { password: password.to_owned(), port })
    }
}

/// Reads the database URL that a server stored in `data_dir`. `None` if no server has run there.
///
/// # Errors
/// If the file exists but cannot be read, for example because it belongs to another user.
pub fn stored_database_url(data_dir: &Path) -> Result<Option<String>, EmbeddedError> {
    let path = data_dir.join(DATABASE_URL);
    match fs::read_to_string(&path) {
        Ok(url) => Ok(Some(url.trim().to_owned()).filter(|url| !url.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EmbeddedError::io("read", &path)(error)),
    }
}

impl DataDir {
    /// Creates the directory if it does not exist, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<DataDir, EmbeddedError> {
        fs::create_dir_all(path).map_err(EmbeddedError::io("create", path))?;
        let path = fs::canonicalize(path).map_err(EmbeddedError::io("open", path))?;
        user::let_others_in(&path)?;
        let lock_path = path.join("lock");
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(EmbeddedError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&lock_path).unwrap_or_default().trim().to_owned();
                return Err(EmbeddedError::InUse { data_dir: path, pid });
            }
            Err(fs::TryLockError::Error(source)) => return Err(EmbeddedError::io("lock", &lock_path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(EmbeddedError::io("write", &lock_path))?;
        Ok(DataDir { path, _lock: lock })
    }

    /// The folder of the cluster.
    pub(super) fn cluster(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The major version of the cluster. `None` if there is no cluster yet.
    pub(super) fn major(&self) -> Result<Option<u32>, EmbeddedError> {
        if !self.cluster().exists() {
            return Ok(None);
        }
        let path = self.cluster().join("PG_VERSION");
        let version = fs::read_to_string(&path).map_err(EmbeddedError::io("read", &path))?;
        let major = version.trim().parse().map_err(|_| {
            EmbeddedError::Version(format!("{} contains {version:?} instead of a version", path.display()))
        })?;
        Ok(Some(major))
    }

    /// Creates a cluster owned by `user` if there is none, and returns how to connect to it.
    pub(super) async fn set_up(
        &self,
        binaries: &Binaries,
        user: Option<&User>,
        options: &Options,
    ) -> Result<Access, EmbeddedError> {
        let stored = stored_database_url(&self.path)?.and_then(|url| Access::parse(&url));
        let known = stored.is_some();
        let access =
            stored.unwrap_or_else(|| Access { password: Alphanumeric.sample_string(&mut rand::rng(), 32), port: 0 });
        if self.cluster().exists() {
            if let Some(user) = user {
                user::give_to(&self.cluster(), user)?;
            }
            if !known {
                self.set_password(binaries, user, &access).await?;
            }
        } else {
            options.cache.progress.say(format_args!("creating a PostgreSQL {} database", binaries.major));
            self.initdb(binaries, user, &access, options).await?;
        }
        Ok(access)
    }

    async fn initdb(
        &self,
        binaries: &Binaries,
        user: Option<&User>,
        access: &Access,
        options: &Options,
    ) -> Result<(), EmbeddedError> {
        // Create it beside its final place, so that an interrupted one does not count as complete.
        let new = self.path.join("postgres.new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(EmbeddedError::io("remove", &new)(error));
            }
            _ => {}
        }
        fs::create_dir(&new).map_err(EmbeddedError::io("create", &new))?;
        let password_file = self.path.join("password");
        write_private(&password_file, &access.password)?;
        if let Some(user) = user {
            for path in [&new, &password_file] {
                user::give_to(path, user)?;
            }
        }
        let initdb = |character_type: &str| {
            let mut command = user::command(&binaries.bin.join("initdb"), user, &self.path);
            command
                .args(["--username=postgres", "--auth=scram-sha-256", "--no-instructions", "--encoding=UTF8"])
                // Messages, and text compared by bytes.
                .args(["--locale=C", "--lc-ctype", character_type])
                .arg("--pgdata")
                .arg(&new)
                .arg("--pwfile")
                .arg(&password_file);
            if binaries.major >= BUILTIN_LOCALES_MAJOR {
                // Text is still compared by bytes, but with Unicode letters, and the same on every system.
                command.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
            }
            if options.settings.iter().any(|(name, value)| name == "fsync" && value == "off") {
                command.arg("--no-sync");
            }
            self.run(command, "initdb", None)
        };
        let mut result = Ok(());
        for character_type in CHARACTER_TYPES {
            result = initdb(character_type).await;
            let is_unknown = |output: &str| output.contains("invalid locale name");
            if !matches!(&result, Err(EmbeddedError::Initdb { output, .. }) if is_unknown(output)) {
                break;
            }
        }
        let removed = fs::remove_file(&password_file).map_err(EmbeddedError::io("remove", &password_file));
        result?;
        removed?;

        let conf = new.join("postgresql.conf");
        let mut file = File::options().append(true).open(&conf).map_err(EmbeddedError::io("open", &conf))?;
        file.write_all(INCLUDE.as_bytes()).map_err(EmbeddedError::io("write", &conf))?;
        self.store(access)?;
        fs::rename(&new, self.cluster()).map_err(EmbeddedError::io("rename", &new))
    }

    /// Gives the superuser a new password if the file with the old one is gone.
    async fn set_password(
        &self,
        binaries: &Binaries,
        user: Option<&User>,
        access: &Access,
    ) -> Result<(), EmbeddedError> {
        self.stop_orphan().await?;
        let mut command = user::command(&binaries.bin.join("postgres"), user, &self.path);
        command.arg("--single").arg("-D").arg(self.cluster()).arg("postgres");
        let statement = format!("ALTER ROLE postgres PASSWORD '{}'\n", access.password);
        self.run(command, "setting a password", Some(&statement)).await
    }

    /// Runs a command until it ends, with `input` on its stdin.
    async fn run(
        &self,
        mut command: tokio::process::Command,
        what: &str,
        input: Option<&str>,
    ) -> Result<(), EmbeddedError> {
        let failed = |output: String| EmbeddedError::Initdb { data_dir: self.path.clone(), output };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let run = async {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(SETUP_LIMIT, run)
            .await
            .map_err(|_| EmbeddedError::Timeout { what: what.to_owned(), limit: SETUP_LIMIT })?
            .map_err(|error| failed(cannot_run(&command, &error)))?;
        if output.status.success() {
            return Ok(());
        }
        let said = quote(&[output.stdout, output.stderr].concat());
        Err(failed(format!("{said} ({})", output.status)))
    }

    /// Writes the database URL for people and programs that run as the same user.
    pub(super) fn store(&self, access: &Access) -> Result<(), EmbeddedError> {
        let new = self.path.join("database-url.new");
        write_private(&new, &format!("{}\n", access.database_url()))?;
        let path = self.path.join(DATABASE_URL);
        fs::rename(&new, &path).map_err(EmbeddedError::io("write", &path))
    }

    /// Writes the settings for PostgreSQL's next start.
    pub(super) fn write_settings<'a>(
        &self,
        settings: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), EmbeddedError> {
        let mut text = "# Written by pgfox-server at every start. Change settings with ALTER SYSTEM.\n".to_owned();
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let path = self.path.join("postgres.conf");
        fs::write(&path, text).map_err(EmbeddedError::io("write", &path))?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, readable).map_err(EmbeddedError::io("change", &path))
    }

    /// Creates an empty file for PostgreSQL's output before it opens its own log.
    pub(super) fn open_log(&self) -> Result<File, EmbeddedError> {
        let path = self.path.join("postgres.log");
        File::create(&path).map_err(EmbeddedError::io("create", &path))
    }

    /// The end of PostgreSQL's latest output.
    pub(super) fn log_tail(&self) -> String {
        let own = fs::read_dir(self.cluster().join("log")).into_iter().flatten().flatten().map(|entry| entry.path());
        let newest =
            own.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).max().map(|(_, path)| path);
        let logs = [Some(self.path.join("postgres.log")), newest];
        let texts: Vec<String> =
            logs.into_iter().flatten().filter_map(|path| fs::read(path).ok()).map(|bytes| quote(&bytes)).collect();
        texts.join("\n")
    }
}

/// Adds the path of a command that could not be run, which is what people need to see.
pub(super) fn cannot_run(command: &tokio::process::Command, error: &io::Error) -> String {
    format!("cannot run {}: {error}", command.as_std().get_program().display())
}

fn write_private(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(EmbeddedError::io("remove", path)(error)),
        _ => {}
    }
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(EmbeddedError::io("create", path))?;
    file.write_all(text.as_bytes()).map_err(EmbeddedError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_url_is_read_back() {
        let access = Access { password: "aB3".into(), port: 5433 };
        assert_eq!(access.database_url(), "postgresql://postgres:aB3@127.0.0.1:5433/postgres");
        assert!(Access::parse(&format!("{}\n", access.database_url())) == Some(access));
        for url in ["", "postgresql://postgres:@127.0.0.1:1/postgres", "postgresql://postgres:a'b@127.0.0.1:1/postgres"]
        {
            assert!(Access::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn one_process_at_a_time_holds_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn settings_are_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        data_dir.write_settings([("search_path", "'a', b")].into_iter()).unwrap();
        let text = fs::read_to_string(dir.path().join("postgres.conf")).unwrap();
        assert!(text.ends_with("search_path = '''a'', b'\n"), "{text}");
    }
}
