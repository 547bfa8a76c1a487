//! Finds the files of a folder to read, and counts the others.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::cli::failure::Failure;

/// The patterns of `--include` and `--exclude`, which are those of .gitignore.
#[derive(Debug)]
pub(crate) struct Globs {
    include: Gitignore,
    exclude: Gitignore,
}

impl Globs {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, Failure> {
        let build = |flag: &str, globs: &[String]| {
            // Paths are matched relative to their folder, so the root is empty.
            let mut builder = GitignoreBuilder::new("");
            for glob in globs {
                builder.add_line(None, glob).map_err(|error| Failure::usage(format!("{flag} {glob}: {error}")))?;
            }
            builder.build().map_err(|error| Failure::usage(format!("{flag}: {error}")))
        };
        Ok(Self { include: build("--include", include)?, exclude: build("--exclude", exclude)? })
    }

    /// Whether a file is wanted, by its path relative to the folder.
    pub(crate) fn take(&self, relative: &str) -> bool {
        let matches = |globs: &Gitignore| globs.matched_path_or_any_parents(relative, false).is_ignore();
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

/// A file below a folder.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// The path relative to the folder, with slashes.
    pub(super) relative: String,
    pub(super) bytes: Option<u64>,
}

/// The files below a folder in the order of their paths. Like git, it leaves out hidden files and files that a
/// .gitignore or .ignore names. Links are not followed, but counted.
pub(super) fn files_below(folder: &Path, globs: &Globs, ignored: &mut Ignored) -> Result<Vec<Entry>, Failure> {
    let mut files = Vec::new();
    // A .gitignore counts even in an export of a repository.
    for entry in ignore::WalkBuilder::new(folder).require_git(false).sort_by_file_path(Ord::cmp).build() {
        let entry = entry.map_err(|error| Failure::usage(format!("cannot read {}: {error}", folder.display())))?;
        let Some(kind) = entry.file_type() else { continue };
        let relative = slashes(entry.path().strip_prefix(folder).unwrap_or(entry.path()));
        if kind.is_dir() || !globs.take(&relative) {
            continue;
        }
        if kind.is_file() {
            let bytes = entry.metadata().ok().map(|metadata| metadata.len());
            files.push(Entry { path: entry.into_path(), relative, bytes });
        } else {
            ignored.add(if kind.is_symlink() { "links" } else { "special files" }.to_owned());
        }
    }
    Ok(files)
}

/// The number of files that were left out, by their extension.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Ignored {
    fn add(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn add_file(&mut self, path: &Path) {
        self.add(match path.extension() {
            Some(ending) => format!(".{}", ending.to_string_lossy().to_lowercase()),
            None => "without an ending".to_owned(),
        });
    }

    /// A line for the user. `None`: no file was left out.
    pub(crate) fn note(&self) -> Option<String> {
        const MAX_LISTED: usize = 10;
        let total: u64 = self.counts.values().sum();
        let mut counts: Vec<(&String, &u64)> = self.counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut list: Vec<String> =
            counts.iter().take(MAX_LISTED).map(|(what, count)| format!("{what} {count}")).collect();
        if counts.len() > MAX_LISTED {
            list.push("others".to_owned());
        }
        let files = crate::cli::output::counted(total, "file");
        (total > 0).then(|| format!("{files} ignored: {}\n", list.join(", ")))
    }
}

/// The absolute path, without `.` and `..`, otherwise as it was typed.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// The path of a file relative to a folder, either as typed or with links resolved.
pub(super) fn relative_to(folder: &Path, path: &Path) -> Option<String> {
    let typed = absolute(path).strip_prefix(absolute(folder)).map(slashes).ok();
    typed.or_else(|| {
        let (folder, path) = (folder.canonicalize().ok()?, path.canonicalize().ok()?);
        path.strip_prefix(folder).map(slashes).ok()
    })
}

pub(super) fn slashes(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
        .replacen("//", "/", 1)
}
