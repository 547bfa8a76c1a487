//! Splits both forms of a connection string into names and values.

use std::collections::BTreeMap;

use super::DsnError;

/// Splits a connection string. As in libpq, a later value of a name overrides an earlier one.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, DsnError> {
    if text.is_empty() {
        return Err(DsnError::Empty);
    }
    match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => match scheme {
            "postgres" | "postgresql" => parse_url(rest),
            _ => Err(DsnError::Scheme(scheme.to_owned())),
        },
        _ => parse_pairs(text),
    }
}

fn is_scheme(text: &str) -> bool {
    let name = text.strip_prefix("jdbc:").unwrap_or(text);
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// `[user[:password]@][host[:port],...][/dbname][?name=value&...]`
fn parse_url(text: &str) -> Result<BTreeMap<String, String>, DsnError> {
    let mut params = BTreeMap::new();
    let mut rest = text;
    if let Some(end) = text.find(['@', '/']).filter(|end| text[*end..].starts_with('@')) {
        let (user, password) = text[..end].split_once(':').unwrap_or((&text[..end], ""));
        params.insert("user".to_owned(), decode(user)?);
        params.insert("password".to_owned(), decode(password)?);
        rest = &text[end + 1..];
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') || dbname.contains('@') {
        return Err(UNENCODED);
    }
    params.insert("dbname".to_owned(), decode(dbname)?);
    if !authority.is_empty() {
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for item in authority.split(',') {
            let (host, port) = split_port(item)?;
            hosts.push(decode(host)?);
            ports.push(decode(port)?);
        }
        params.insert("host".to_owned(), hosts.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            params.insert("port".to_owned(), ports.join(","));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(DsnError::Syntax("a parameter after `?` has no `=`"));
        };
        params.insert(parameter_name(&decode(name)?)?, decode(value)?);
    }
    Ok(params)
}

/// `host:port`, with an IPv6 address in brackets.
fn split_port(text: &str) -> Result<(&str, &str), DsnError> {
    const BRACKETS: DsnError = DsnError::Syntax("an IPv6 address needs `[` before and `]` after it");
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    let (address, rest) = rest.split_once(']').ok_or(BRACKETS)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if rest.is_empty() => Ok((address, "")),
        None => Err(BRACKETS),
    }
}

const UNENCODED: DsnError = DsnError::Syntax(
    "there is more than one `@`, or a `/` before it; in a user name or password write @ as %40, / as %2F, : as %3A, \
     % as %25",
);

/// The error to report instead of `error`. An `@` after the supposed host most likely means a password that is not
/// percent-encoded. Any other message would then mislead, and could quote a part of the password.
pub(super) fn suspect_password(text: &str, error: DsnError) -> DsnError {
    let Some((_, rest)) = text.split_once("://") else {
        return error;
    };
    let userinfo_is_plain = rest.find('@').is_none_or(|at| !rest[..at].contains('/') && !rest[at + 1..].contains('@'));
    if userinfo_is_plain { error } else { UNENCODED }
}

fn decode(text: &str) -> Result<String, DsnError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(DsnError::Syntax("a `%` is not followed by two hexadecimal digits; write % as %25"));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = &tail[2..];
    }
    if bytes.contains(&0) {
        return Err(DsnError::Syntax("it contains a zero byte"));
    }
    String::from_utf8(bytes).map_err(|_| DsnError::Syntax("a percent-encoded value is not UTF-8"))
}

/// `name = value ...`; values with spaces are in single quotes, and `\` escapes the next character.
fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, DsnError> {
    const NO_PAIRS: DsnError =
        DsnError::Syntax("it is neither a URL (postgresql://user:password@host/database) nor name=value pairs");
    let mut params = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=').ok_or(NO_PAIRS)?;
        let (value, tail) = take_value(tail.trim_start())?;
        params.insert(parameter_name(name.trim_end())?, value);
        rest = tail.trim_start();
    }
    Ok(params)
}

/// A value at the start of `text`, and the rest of the text.
fn take_value(text: &str) -> Result<(String, &str), DsnError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            '\0' => return Err(DsnError::Syntax("it contains a zero byte")),
            c => value.push(c),
        }
    }
    if quoted { Err(DsnError::Syntax("a quoted value does not end")) } else { Ok((value, "")) }
}

/// Messages quote only what looks like a name. Anything else may be a part of the password.
fn parameter_name(name: &str) -> Result<String, DsnError> {
    let plausible = (1..=63).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match plausible {
        true => Ok(name.to_owned()),
        false => Err(DsnError::Syntax("the name of a parameter must be letters, digits and `_`")),
    }
}
