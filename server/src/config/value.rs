//! Parsers for the values of settings.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use http::HeaderName;

/// The first of the environment variables that is set and not empty. Used for secrets, which have no flag.
pub(super) fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    })
}

/// Reads the file that a setting names.
pub(super) fn read_file(setting: &str, path: &Path, errors: &mut Vec<String>) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            errors.push(format!("{setting} {}: {error}", path.display()));
            None
        }
    }
}

/// Reads a file with a secret. Refuses a file that every user of the machine can read or write.
pub(super) fn read_secret(setting: &str, path: &Path, errors: &mut Vec<String>) -> Option<String> {
    const READ_OR_WRITE_BY_OTHERS: u32 = 0o006;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777).unwrap_or_default();
    if mode & READ_OR_WRITE_BY_OTHERS != 0 {
        let path = path.display();
        errors.push(format!(
            "{setting} {path}: every user of this machine can read or change the file (mode {mode:04o}): run `chmod \
             640 {path}`, or mount it with mode 0440"
        ));
        return None;
    }
    read_file(setting, path, errors)
}

/// Reads a time such as "500ms", "30s", "5m" or "1h".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number and a unit: 500ms, 30s, 5m or 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number and a unit, such as 30s".to_owned())?;
    match number.checked_mul(milliseconds) {
        Some(0) => Err("must be above zero".into()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err("too large".into()),
    }
}

/// Reads the name of a header such as "x-tenant".
pub(super) fn header(text: &str) -> Result<HeaderName, String> {
    let name = text.trim();
    if name.contains('*') {
        return Err("* is not allowed: name each header, such as x-tenant".into());
    }
    name.parse().map_err(|_| "expected a header name, such as x-tenant".into())
}

/// Reads an amount of memory such as "512MB" or "2GB"; units are powers of 1,024, as in postgresql.conf.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return Err("expected a number and a unit: kB, MB or GB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number and a unit, such as 512MB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// Reads the memory for an index build, at least the minimum that pgvector needs.
pub(super) fn build_memory(text: &str) -> Result<u64, String> {
    at_least(text, 1 << 20, "1MB")
}

/// Reads the memory that PostgreSQL is configured for.
pub(super) fn postgres_memory(text: &str) -> Result<u64, String> {
    at_least(text, 64 << 20, "64MB")
}

fn at_least(text: &str, least: u64, shown: &str) -> Result<u64, String> {
    bytes(text).and_then(|value| if value < least { Err(format!("must be at least {shown}")) } else { Ok(value) })
}

/// Reads the variable of a flag that takes no value.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, milliseconds) in [("500ms", 500), ("30s", 30_000), ("5 m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1d", "0s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_amounts() {
        for (text, value) in [("512MB", 512 << 20), ("2 GB", 2 << 30), ("64kB", 64 << 10), ("0MB", 0)] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "512", "2GiB", "-1MB", "1.5GB", "99999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
