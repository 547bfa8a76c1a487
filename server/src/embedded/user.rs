//! The user that PostgreSQL runs as: PostgreSQL refuses to run as root.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use tokio::process::Command;

use super::EmbeddedError;

/// The users to try in this order if root names none.
const DEFAULT_USERS: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Decides which user runs PostgreSQL. `None`: the user that runs pgfox.
pub(super) fn choose(requested: Option<&str>) -> Result<Option<User>, EmbeddedError> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    choose_from(&passwd, rustix::process::geteuid().as_raw(), requested)
}

fn choose_from(passwd: &str, current_uid: u32, requested: Option<&str>) -> Result<Option<User>, EmbeddedError> {
    let find = |name: &str| passwd.lines().find_map(|line| parse(line).filter(|user| user.name == name));
    if current_uid != 0 {
        return match requested {
            Some(name) if find(name).is_none_or(|user| user.uid != current_uid) => Err(EmbeddedError::User(format!(
                "--run-as {name} needs root: omit it to run PostgreSQL as the user that runs pgfox-server"
            ))),
            _ => Ok(None),
        };
    }
    let user = match requested {
        Some(name) => {
            find(name).ok_or_else(|| EmbeddedError::User(format!("--run-as {name}: /etc/passwd has no such user")))?
        }
        None => DEFAULT_USERS.into_iter().find_map(find).ok_or_else(|| {
            EmbeddedError::User(format!(
                "PostgreSQL does not run as root, and /etc/passwd has none of the users {}: name one with --run-as",
                DEFAULT_USERS.join(", ")
            ))
        })?,
    };
    if user.uid == 0 {
        return Err(EmbeddedError::User(format!("--run-as {}: PostgreSQL does not run as root", user.name)));
    }
    Ok(Some(user))
}

/// Reads a line of /etc/passwd.
fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { name, uid, gid })
}

/// A command that runs as `user`, without the environment of pgfox: variables such as PGPORT and PGDATA would change
/// what PostgreSQL does.
pub(super) fn command(program: &Path, user: Option<&User>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir(dir);
    if let Some(user) = user {
        // The standard library drops root's supplementary groups together with the user id.
        command.gid(user.gid).uid(user.uid);
    }
    command
}

/// Gives a folder and its contents to `user`, unless they already belong to them.
pub(super) fn give_to(path: &Path, user: &User) -> Result<(), EmbeddedError> {
    let metadata = fs::symlink_metadata(path).map_err(EmbeddedError::io("read", path))?;
    if metadata.uid() == user.uid {
        return Ok(());
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(EmbeddedError::io("read", path))? {
            give_to(&entry.map_err(EmbeddedError::io("read", path))?.path(), user)?;
        }
    }
    // The folder comes last: until it belongs to the user, an interrupted change starts again.
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).map_err(EmbeddedError::io("change owner of", path))
}

/// As root, lets other users enter and read a folder of pgfox.
pub(super) fn let_others_in(dir: &Path) -> Result<(), EmbeddedError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mode = fs::metadata(dir).map_err(EmbeddedError::io("read", dir))?.permissions().mode();
    if mode & 0o055 == 0o055 {
        return Ok(());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o055)).map_err(EmbeddedError::io("change", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n\
        broken line\n\
        fox:x:1000:1001:,,,:/home/fox:/bin/sh\n";

    fn chosen(passwd: &str, uid: u32, requested: Option<&str>) -> Result<Option<(String, u32, u32)>, String> {
        let user = choose_from(passwd, uid, requested).map_err(|error| error.to_string())?;
        Ok(user.map(|user| (user.name, user.uid, user.gid)))
    }

    #[test]
    fn root_runs_postgres_as_another_user() {
        assert_eq!(chosen(PASSWD, 0, None), Ok(Some(("nobody".into(), 65534, 65533))));
        let with_postgres = format!("{PASSWD}postgres:x:101:104::/:/bin/sh\n");
        assert_eq!(chosen(&with_postgres, 0, None), Ok(Some(("postgres".into(), 101, 104))));
        assert_eq!(chosen(PASSWD, 0, Some("fox")), Ok(Some(("fox".into(), 1000, 1001))));
        assert!(chosen(PASSWD, 0, Some("wolf")).unwrap_err().contains("--run-as wolf"));
        assert!(chosen(PASSWD, 0, Some("root")).unwrap_err().contains("does not run as root"));
        assert!(chosen("", 0, None).unwrap_err().contains("--run-as"));
    }

    #[test]
    fn others_run_it_as_themselves() {
        assert_eq!(chosen(PASSWD, 1000, None), Ok(None));
        assert_eq!(chosen(PASSWD, 1000, Some("fox")), Ok(None));
        assert!(chosen(PASSWD, 1000, Some("nobody")).unwrap_err().contains("needs root"));
    }
}
