//! The parameters of a connection string. Each is taken out as it is read, and any that are left are refused.

use std::{collections::BTreeMap, str::FromStr};

use super::DsnError;

/// Hints for other clients (Prisma, node-postgres, JDBC, pgx, Rails, Vercel and others) that providers add to
/// connection strings. They configure the client, not the connection, so ignoring them changes nothing on the server.
/// `pool_*` belongs to them too.
const HINTS_FOR_OTHER_CLIENTS: &[&str] = &[
    "ApplicationName",
    "adapter",
    "binary_parameters",
    "charset",
    "connection_limit",
    "conn_max_age",
    "currentSchema",
    "default_query_exec_mode",
    "description_cache_capacity",
    "encoding",
    "idle_in_transaction_session_timeout",
    "idle_timeout",
    "lock_timeout",
    "max",
    "max_connections",
    "max_lifetime",
    "min_connections",
    "pgbouncer",
    "pool",
    "poolmode",
    "prepareThreshold",
    "preparedStatementCacheQueries",
    "prepared_statements",
    "query_timeout",
    "reWriteBatchedInserts",
    "schema",
    "search_path",
    "serverVersion",
    "server_version",
    "single_use_connections",
    "socketTimeout",
    "socket_timeout",
    "sslaccept",
    "statement_cache_capacity",
    "statement_cache_mode",
    "statement_cache_size",
    "statement_timeout",
    "stringtype",
    "supa",
    "tcpKeepAlive",
    "uselibpqcompat",
    "workaround",
];

/// Parameters of libpq that pgfox does not have, each with advice. Ignoring them could weaken the requested security.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("gsslib", "GSSAPI is not supported"),
    ("krbsrvname", "GSSAPI is not supported"),
    ("oauth_client_id", "OAuth is not supported; use a password or a client certificate"),
    ("oauth_issuer", "OAuth is not supported; use a password or a client certificate"),
    ("passfile", "put the password into the connection string"),
    ("replication", "pgfox needs an ordinary connection"),
    ("require_auth", "use channel_binding=require or a client certificate"),
    ("requirepeer", "use TLS to verify the server"),
    ("service", "put the service's parameters into the connection string"),
    ("servicefile", "put the service's parameters into the connection string"),
    ("ssl_max_protocol_version", "TLS 1.2 and 1.3 are used; limit them on the server"),
    ("sslcertmode", "leave sslcert out to send no client certificate"),
    ("sslcrl", "revocation lists are not supported"),
    ("sslcrldir", "revocation lists are not supported"),
    ("sslkeylogfile", "TLS secrets are not written to files"),
    ("sslpassword", "store the key without a password, readable only by pgfox's user"),
];

/// The parameters that have not been read yet.
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn new(values: BTreeMap<String, String>) -> Params {
        Params(values)
    }

    /// Takes the value of a parameter. As in libpq, an empty value counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    pub(super) fn take_parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, DsnError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| DsnError::Invalid { name, expected })
    }

    /// Takes a parameter whose value must be one of `choices`.
    pub(super) fn take_choice<T: Copy>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, DsnError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let choice = choices.iter().find(|(text, _)| *text == value);
        choice.map(|(_, choice)| Some(*choice)).ok_or(DsnError::Invalid { name, expected })
    }

    /// Whether a hint for another client says that a pooler keeps no prepared statements.
    pub(super) fn hints_at_unnamed_statements(&self) -> bool {
        const HINTS: &[(&str, &str)] = &[
            ("default_query_exec_mode", "exec"),
            ("default_query_exec_mode", "simple_protocol"),
            ("pgbouncer", "true"),
            ("prepareThreshold", "0"),
            ("prepared_statements", "false"),
            ("statement_cache_capacity", "0"),
            ("statement_cache_size", "0"),
        ];
        HINTS.iter().any(|(name, value)| self.0.get(*name).is_some_and(|given| given == value))
    }

    /// Removes the hints for other clients, and returns warnings about them.
    pub(super) fn take_hints(&mut self) -> Vec<String> {
        let is_hint = |name: &str| name.starts_with("pool_") || HINTS_FOR_OTHER_CLIENTS.contains(&name);
        let hints: Vec<String> = self.0.keys().filter(|name| is_hint(name)).cloned().collect();
        let strict = self.0.get("sslaccept").is_some_and(|value| value == "strict");
        self.0.retain(|name, _| !is_hint(name));
        let mut warnings = Vec::new();
        if strict {
            warnings.push("PostgreSQL does not know sslaccept=strict: use sslmode=verify-full".to_owned());
        }
        if !hints.is_empty() {
            warnings.push(format!("ignored in the connection string (hints for other clients): {}", hints.join(", ")));
        }
        warnings
    }

    /// Refuses the parameters that are left.
    pub(super) fn finish(mut self) -> Result<(), DsnError> {
        for &(name, advice) in UNSUPPORTED {
            if self.take(name).is_some() {
                return Err(DsnError::Unsupported { name, advice });
            }
        }
        match self.0.into_iter().find(|(_, value)| !value.is_empty()) {
            Some((name, _)) => Err(DsnError::Unknown(name)),
            None => Ok(()),
        }
    }
}
