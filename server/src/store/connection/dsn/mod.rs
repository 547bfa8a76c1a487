//! Reads the connection string in the form that managed providers give it, with libpq's meaning.
//!
//! Both libpq forms are read: `postgresql://user:password@host:port/db?name=value` and `host=... user=...`. A parameter
//! of libpq is used or refused by name, never dropped silently. Hints that vendors add for other clients
//! (`pgbouncer=true`) are ignored with a warning. No message contains a value of the string, since it could contain a
//! part of the password.

mod params;
mod syntax;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{ChannelBinding, Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs},
};

use params::Params;

/// Maximum time to open a connection if the string has no `connect_timeout`.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead connection is detected after about 35 seconds: by the probes if it is idle, else by missing acknowledgements.
/// The parameters of libpq change that.
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(20);
const DEFAULT_KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_KEEPALIVES_COUNT: u32 = 3;
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(35);

/// A mistake in a connection string. The text names the parameter and never contains a value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DsnError {
    /// The string is empty.
    #[error("the connection string is empty: it should look like postgresql://user:password@host:5432/database")]
    Empty,
    /// The URL has another scheme.
    #[error("`{0}` is not a scheme of PostgreSQL: use postgresql:// or postgres://")]
    Scheme(String),
    /// Neither a URL nor `name=value` pairs.
    #[error("the connection string is malformed: {0}")]
    Syntax(&'static str),
    /// No host is named.
    #[error(
        "the connection string names no host: add one, or the directory of the server's Unix socket \
         (host=/var/run/postgresql)"
    )]
    MissingHost,
    /// No client that pgfox knows has this parameter.
    #[error("the connection string has an unknown parameter `{0}`")]
    Unknown(String),
    /// libpq has this parameter, but pgfox does not.
    #[error("the connection string's parameter `{name}` is not supported: {advice}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// Advice.
        advice: &'static str,
    },
    /// A parameter has a value that is not allowed.
    #[error("the connection string's `{name}` is not valid: it must be {expected}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
    },
    /// A certificate or key that a parameter names cannot be used.
    #[error("the connection string's `{name}` cannot be used: {path}: {reason}")]
    File {
        /// The parameter.
        name: &'static str,
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The system's certificates are needed, but there are none.
    #[error(
        "no trusted certificates found on this system (Debian: the package ca-certificates); \
         name the provider's CA file with sslrootcert"
    )]
    NoSystemRoots,
}

/// A parsed connection string. `Debug` and [`describe`](Dsn::describe) leave out the password.
#[derive(Clone, Debug)]
pub struct Dsn {
    /// The part that the driver handles.
    pub(super) config: Config,
    /// How to use TLS. `None` if TLS is never used.
    pub(super) tls: Option<TlsOptions>,
    /// Maximum time to open a connection, from name resolution until the server is ready.
    pub(super) connect_timeout: Duration,
    warnings: Vec<String>,
    hints_at_unnamed_statements: bool,
}

/// The details of TLS in the connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    pub(super) verify: Verify,
    /// The PEM files with the certificate chain and the key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// Send the host's name in the handshake; Neon and others route by it.
    pub(super) server_name_indication: bool,
    /// Begin with TLS at the first byte (PostgreSQL 17 and later).
    pub(super) direct: bool,
    /// Refuse TLS 1.2.
    pub(super) tls13_only: bool,
}

/// How strictly the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// Encrypts, but any server is accepted.
    Nothing,
    /// The certificate must come from a trusted CA.
    Chain(Roots),
    /// The certificate must also belong to the host's name.
    ChainAndName(Roots),
}

/// The CAs to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    System,
    File(PathBuf),
}

impl Dsn {
    /// Reads a connection string in libpq's URL or `name=value` form.
    ///
    /// Differences from libpq: a host is required. Without `sslrootcert`, `verify-ca` and `verify-full` trust the
    /// system's certificates instead of `~/.postgresql/root.crt`. Files in the home directory and `PG*` variables are
    /// not read. `sslmode=allow` means `prefer`. `connect_timeout` (default 10 s) limits the whole attempt at a host,
    /// and one address may use half of it.
    ///
    /// # Errors
    /// `DsnError` for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Dsn, DsnError> {
        let text = text.trim();
        Dsn::read(text).map_err(|error| syntax::suspect_password(text, error))
    }

    fn read(text: &str) -> Result<Dsn, DsnError> {
        let mut params = Params::new(syntax::parse(text)?);
        let hints_at_unnamed_statements = params.hints_at_unnamed_statements();
        let mut warnings = params.take_hints();
        let mut config = Config::new();
        set_target(&mut params, &mut config)?;
        set_session(&mut params, &mut config)?;
        let connect_timeout = set_socket(&mut params, &mut config)?;
        let tls = set_tls(&mut params, &mut config, &mut warnings)?;
        params.finish()?;
        Ok(Dsn { config, tls, connect_timeout, warnings, hints_at_unnamed_statements })
    }

    /// Whether it contains a secret.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// `user@host:port/database`, for logs, without the password.
    pub fn describe(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(directory) => format!("{}:{port}", directory.display()),
            }
        });
        let user = self.config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let database = self.config.get_dbname().map(|name| format!("/{name}")).unwrap_or_default();
        format!("{user}{}{database}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Warnings for the operator about a string that works. Log them once at start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether it contains a hint for another client that a pooler keeps no prepared statements.
    pub fn hints_at_unnamed_statements(&self) -> bool {
        self.hints_at_unnamed_statements
    }
}

impl FromStr for Dsn {
    type Err = DsnError;

    fn from_str(text: &str) -> Result<Dsn, DsnError> {
        Dsn::parse(text)
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// Hosts, ports, user, password and database.
fn set_target(params: &mut Params, config: &mut Config) -> Result<(), DsnError> {
    let hosts = params.take("host");
    let addresses = params.take("hostaddr");
    // TLS needs a name even for an address without one: use the address itself.
    let Some(names) = hosts.or_else(|| addresses.clone()) else {
        return Err(DsnError::MissingHost);
    };
    let names: Vec<&str> = names.split(',').collect();
    for name in &names {
        if name.is_empty() {
            return Err(DsnError::MissingHost);
        }
        if !name.starts_with('/') && name.contains(|c: char| c == '@' || c == '/' || c.is_whitespace()) {
            return Err(DsnError::Invalid { name: "host", expected: "a name, an address or a socket's directory" });
        }
        config.host(*name);
    }
    if let Some(addresses) = addresses {
        let invalid = DsnError::Invalid { name: "hostaddr", expected: "one IP address for each host" };
        let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
        match addresses {
            Ok(addresses) if addresses.len() == names.len() => {
                for address in addresses {
                    config.hostaddr(address);
                }
            }
            _ => return Err(invalid),
        }
    }
    if let Some(ports) = params.take("port") {
        let mut count = 0;
        for port in ports.split(',') {
            let port = if port.is_empty() { Ok(5432) } else { port.parse() };
            match port {
                Ok(port) if port != 0 => config.port(port),
                _ => {
                    return Err(DsnError::Invalid { name: "port", expected: "a number from 1 to 65535" });
                }
            };
            count += 1;
        }
        if count != 1 && count != names.len() {
            return Err(DsnError::Invalid { name: "port", expected: "one number, or one for each host" });
        }
    }
    if let Some(user) = params.take("user") {
        config.user(user);
    }
    if let Some(password) = params.take("password") {
        config.password(password);
    }
    if let Some(dbname) = params.take("dbname") {
        config.dbname(dbname);
    }
    let attrs = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("primary", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
        ("standby", TargetSessionAttrs::ReadOnly),
    ];
    let expected = "any, read-write, primary, read-only or standby";
    if let Some(attrs) = params.take_choice("target_session_attrs", expected, &attrs)? {
        config.target_session_attrs(attrs);
    }
    let balance = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
    if let Some(balance) = params.take_choice("load_balance_hosts", "disable or random", &balance)? {
        config.load_balance_hosts(balance);
    }
    Ok(())
}

/// Settings for the server at start-up.
fn set_session(params: &mut Params, config: &mut Config) -> Result<(), DsnError> {
    if let Some(options) = params.take("options") {
        config.options(options);
    }
    let fallback = params.take("fallback_application_name");
    let name = params.take("application_name").or(fallback);
    config.application_name(name.unwrap_or_else(|| "pgfox".to_owned()));
    // The driver always uses UTF-8.
    let encodings = [("auto", ()), ("UTF8", ()), ("utf8", ()), ("UTF-8", ()), ("utf-8", ())];
    params.take_choice("client_encoding", "UTF8", &encodings)?;
    // GSSAPI is never tried, which `prefer` allows.
    params.take_choice("gssencmode", "disable or prefer", &[("disable", ()), ("prefer", ())])?;
    params.take_choice("gssdelegation", "0", &[("0", ())])?;
    Ok(())
}

/// Sets the timeouts of the socket. Returns the maximum time to open a connection.
fn set_socket(params: &mut Params, config: &mut Config) -> Result<Duration, DsnError> {
    const SECONDS: &str = "a whole number of seconds";
    let seconds =
        |value: Option<i64>| value.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_secs);
    if let Some(on) = params.take_choice("keepalives", "0 or 1", &[("0", false), ("1", true)])? {
        config.keepalives(on);
    }
    // As in libpq, a value that is not positive keeps the system's default.
    let or_default = |value: Option<i64>, default| if value.is_some() { seconds(value) } else { Some(default) };
    if let Some(idle) = or_default(params.take_parsed("keepalives_idle", SECONDS)?, DEFAULT_KEEPALIVES_IDLE) {
        config.keepalives_idle(idle);
    }
    let interval = params.take_parsed("keepalives_interval", SECONDS)?;
    if let Some(interval) = or_default(interval, DEFAULT_KEEPALIVES_INTERVAL) {
        config.keepalives_interval(interval);
    }
    let count = params.take_parsed::<u32>("keepalives_count", "a whole number")?;
    if let Some(count) = Some(count.unwrap_or(DEFAULT_KEEPALIVES_COUNT)).filter(|n| *n > 0) {
        config.keepalives_retries(count);
    }
    let user_timeout = params.take_parsed::<u64>("tcp_user_timeout", "a whole number of milliseconds")?;
    config.tcp_user_timeout(user_timeout.map_or(DEFAULT_TCP_USER_TIMEOUT, Duration::from_millis));
    let timeout = seconds(params.take_parsed("connect_timeout", SECONDS)?).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    // The driver's own limit is per address, so that a dead address (often IPv6) leaves time for the next one.
    config.connect_timeout(timeout / 2);
    let attempts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
    Ok(timeout.saturating_mul(attempts))
}

/// Reads `sslmode` and everything related to it.
fn set_tls(
    params: &mut Params,
    config: &mut Config,
    warnings: &mut Vec<String>,
) -> Result<Option<TlsOptions>, DsnError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mode {
        Disable,
        Prefer,
        Require,
        VerifyCa,
        VerifyFull,
    }
    let modes = [
        ("disable", Mode::Disable),
        ("allow", Mode::Prefer),
        ("prefer", Mode::Prefer),
        ("require", Mode::Require),
        // The spelling of node-postgres.
        ("no-verify", Mode::Require),
        ("verify-ca", Mode::VerifyCa),
        ("verify-full", Mode::VerifyFull),
    ];
    let expected = "disable, allow, prefer, require, verify-ca or verify-full";
    let mode = params.take_choice("sslmode", expected, &modes)?;
    // libpq reads JDBC's ssl=true as sslmode=require.
    let ssl = params.take_choice("ssl", "true or false", &[("true", Some(Mode::Require)), ("false", None)])?;
    let roots = params.take("sslrootcert").map(|path| match path.as_str() {
        "system" => Roots::System,
        _ => Roots::File(path.into()),
    });
    let system = roots == Some(Roots::System);
    let mode = mode.or(ssl.flatten()).unwrap_or(if system { Mode::VerifyFull } else { Mode::Prefer });
    if system && mode != Mode::VerifyFull && mode != Mode::Disable {
        return Err(DsnError::Invalid { name: "sslmode", expected: "verify-full with sslrootcert=system" });
    }

    let negotiations = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
    let negotiation = params.take_choice("sslnegotiation", "postgres or direct", &negotiations)?;
    let direct = negotiation == Some(SslNegotiation::Direct);
    if direct && matches!(mode, Mode::Disable | Mode::Prefer) {
        return Err(DsnError::Invalid {
            name: "sslmode",
            expected: "require, verify-ca or verify-full with sslnegotiation=direct",
        });
    }
    config.ssl_negotiation(negotiation.unwrap_or_default());

    let bindings = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    let binding = params.take_choice("channel_binding", "disable, prefer or require", &bindings)?;
    if binding == Some(ChannelBinding::Require) && mode == Mode::Disable {
        return Err(DsnError::Invalid { name: "sslmode", expected: "other than disable with channel_binding=require" });
    }
    config.channel_binding(binding.unwrap_or(ChannelBinding::Prefer));

    let client = match (params.take("sslcert"), params.take("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => {
            return Err(DsnError::Invalid { name: "sslkey", expected: "given together with sslcert" });
        }
        (None, Some(_)) => {
            return Err(DsnError::Invalid { name: "sslcert", expected: "given together with sslkey" });
        }
    };
    let sni = params.take_choice("sslsni", "0 or 1", &[("0", false), ("1", true)])?;
    let versions = [("TLSv1", false), ("TLSv1.1", false), ("TLSv1.2", false), ("TLSv1.3", true)];
    let tls13_only = params.take_choice("ssl_min_protocol_version", "TLSv1.2 or TLSv1.3", &versions)?;
    // It has no effect in libpq either.
    params.take("sslcompression");

    // As in libpq, a Unix socket uses no TLS, whatever sslmode says.
    let sockets_only = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    if mode == Mode::Disable || sockets_only {
        config.ssl_mode(SslMode::Disable);
        return Ok(None);
    }
    config.ssl_mode(if mode == Mode::Prefer { SslMode::Prefer } else { SslMode::Require });
    let verify = match (mode, roots) {
        (Mode::VerifyFull, roots) => Verify::ChainAndName(roots.unwrap_or(Roots::System)),
        (Mode::VerifyCa, None) => {
            warnings.push(
                "sslmode=verify-ca without sslrootcert accepts every certificate of a public CA: \
                 use verify-full, or name the provider's CA file with sslrootcert"
                    .to_owned(),
            );
            Verify::Chain(Roots::System)
        }
        (_, Some(roots)) => Verify::Chain(roots),
        (_, None) => Verify::Nothing,
    };
    Ok(Some(TlsOptions {
        verify,
        client,
        server_name_indication: sni.unwrap_or(true),
        direct,
        tls13_only: tls13_only.unwrap_or(false),
    }))
}
