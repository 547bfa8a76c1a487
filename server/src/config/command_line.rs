//! Keeps passwords off the command line, which every user of the machine can read.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt as _,
    process::Command,
};

use crate::store::Dsn;

/// Flags whose values can contain a password, each with the variable to use instead.
const FLAGS: [(&str, &str); 2] =
    [("--database-url", "DATABASE_URL"), ("--direct-database-url", "PGFOX_DIRECT_DATABASE_URL")];

/// Set for the program that replaces this process: the flag that had a password.
const MOVED: &str = "PGFOX_MOVED_FLAG";

/// Moves passwords from the command line to the environment, which other users cannot read. The process starts itself
/// again for this, so call it before there are threads.
///
/// # Errors
/// If the program cannot be started again. The passwords then stay on the command line.
pub fn hide_passwords() -> io::Result<()> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let (kept, moved) = split(arguments);
    let Some((flag, _)) = moved.first() else { return Ok(()) };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(name).args(kept).env(MOVED, flag);
    for (flag, url) in &moved {
        let variable = FLAGS.iter().find(|(known, _)| known == flag).map_or(MOVED, |(_, variable)| variable);
        command.env(variable, url);
    }
    Err(command.exec())
}

/// The warning about a password that was on the command line.
#[must_use]
pub fn shown_password() -> Option<String> {
    let moved = std::env::var(MOVED).ok();
    let flag = moved.or_else(|| Some(split(std::env::args_os().skip(1)).1.first()?.0.to_owned()))?;
    let (_, variable) = FLAGS.iter().find(|(known, _)| *known == flag)?;
    let file = if *variable == "DATABASE_URL" { " or --database-url-file" } else { "" };
    Some(format!(
        "{flag} puts a password on the command line, where every user of this machine could read it when the server \
         started: use {variable}{file} instead"
    ))
}

/// Takes out the flags that hold a password.
fn split(arguments: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let mut arguments = arguments.peekable();
    let (mut kept, mut moved) = (Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        let found = FLAGS.iter().find_map(|(flag, _)| {
            let rest = argument.to_str()?.strip_prefix(flag)?;
            match rest.strip_prefix('=') {
                Some(value) => Some((*flag, OsString::from(value), false)),
                None if rest.is_empty() => Some((*flag, arguments.peek()?.clone(), true)),
                None => None,
            }
        });
        match found {
            Some((flag, url, apart)) if has_password(&url) => {
                if apart {
                    arguments.next();
                }
                moved.push((flag, url));
            }
            _ => kept.push(argument),
        }
    }
    (kept, moved)
}

fn has_password(url: &OsStr) -> bool {
    url.to_str().is_some_and(|url| Dsn::parse(url).is_ok_and(|dsn| dsn.has_password()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(line: &str) -> (String, Vec<(&'static str, OsString)>) {
        let (kept, moved) = split(line.split_whitespace().map(OsString::from));
        (kept.join(OsStr::new(" ")).into_string().unwrap(), moved)
    }

    #[test]
    fn passwords_are_taken_out() {
        let url = "postgresql://fox:secret@127.0.0.1/x";
        let direct = "postgresql://fox:secret@127.0.0.1/y";
        let (kept, moved) =
            split_text(&format!("serve --database-url {url} --pool-size 3 --direct-database-url={direct} --migrate"));
        assert_eq!(kept, "serve --pool-size 3 --migrate");
        assert_eq!(moved, [("--database-url", url.into()), ("--direct-database-url", direct.into())]);
    }

    #[test]
    fn other_flags_stay() {
        for line in [
            "--database-url postgresql://fox@127.0.0.1/x",
            "--database-url-file /run/secrets/url",
            "--database-url",
            "--database-url= --migrate",
            "--database-url mysql://fox:secret@127.0.0.1/x",
        ] {
            assert_eq!(split_text(line), (line.to_owned(), Vec::new()));
        }
    }
}
