//! Default folders for data and downloaded files.

use std::path::PathBuf;

/// The folders of root. A user that root changes to cannot enter root's home folder.
const SYSTEM_DATA: &str = "/var/lib/pgfox";
const SYSTEM_CACHE: &str = "/var/cache/pgfox";

/// The folders of the embedded default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// The database.
    pub data: PathBuf,
    /// Downloaded binaries and weights.
    pub cache: PathBuf,
}

impl Dirs {
    pub(super) fn of_the_system() -> Dirs {
        Dirs { data: SYSTEM_DATA.into(), cache: SYSTEM_CACHE.into() }
    }
}

/// The folders of the current user: the system's for root, else those of the XDG Base Directory Specification. `None`
/// if there is no home folder.
#[must_use]
pub fn default_dirs() -> Option<Dirs> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    dirs_for(rustix::process::geteuid().is_root(), variable)
}

fn dirs_for(is_root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<Dirs> {
    if is_root {
        return Some(Dirs::of_the_system());
    }
    // The specification says to ignore relative paths.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let home = absolute("HOME");
    let folder = |name, below| {
        let folder = absolute(name).or_else(|| Some(home.as_ref()?.join(below)))?;
        Some(folder.join("pgfox"))
    };
    Some(Dirs { data: folder("XDG_DATA_HOME", ".local/share")?, cache: folder("XDG_CACHE_HOME", ".cache")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_follow_the_user() {
        let dirs = |is_root, variables: &'static [(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|variable| variable.0 == name).map(|variable| variable.1.into());
            dirs_for(is_root, find).map(|dirs| [dirs.data, dirs.cache].map(|dir| dir.display().to_string()))
        };
        let of = |data: &str, cache: &str| Some([data.to_owned(), cache.to_owned()]);
        assert_eq!(dirs(true, &[("HOME", "/root")]), of("/var/lib/pgfox", "/var/cache/pgfox"));
        assert_eq!(dirs(false, &[("HOME", "/home/fox")]), of("/home/fox/.local/share/pgfox", "/home/fox/.cache/pgfox"));
        assert_eq!(dirs(false, &[("XDG_DATA_HOME", "/d"), ("XDG_CACHE_HOME", "/c")]), of("/d/pgfox", "/c/pgfox"));
        assert_eq!(
            dirs(false, &[("HOME", "/h"), ("XDG_DATA_HOME", "d")]),
            of("/h/.local/share/pgfox", "/h/.cache/pgfox")
        );
        assert_eq!(dirs(false, &[]), None);
    }
}
