//! Finding a model by its name below the operator's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder of models, one folder each.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
}

impl ModelFolder {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder of the model `local/<name>`, if there is one. A name is a name, never a path: callers choose it.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let dir = self.path.join(name);
        (is_name(name) && has_model(&dir)).then_some(dir)
    }

    /// The names of the models that are there, in order, for messages.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if is_name(&name) && has_model(&entry.path()) => names.push(name),
                _ => {}
            }
        }
        names.sort();
        Ok(names)
    }
}

fn has_model(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

/// `[A-Za-z0-9._-]+`, neither `.` nor `..`
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_models_by_name_and_nothing_by_path() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("config.json"), "{}").unwrap();
        let models = outside.path().join("models");
        for name in ["small", "v1.5_x-y", "empty"] {
            fs::create_dir_all(models.join(name)).unwrap();
        }
        for name in ["small", "v1.5_x-y"] {
            fs::write(models.join(name).join("config.json"), "{}").unwrap();
        }
        fs::write(models.join("config.json"), "{}").unwrap();
        let folder = ModelFolder::new(models.clone());
        assert_eq!(folder.names().unwrap(), ["small", "v1.5_x-y"]);
        assert_eq!(folder.find("small"), Some(models.join("small")));
        let path = models.join("small").into_os_string().into_string().unwrap();
        for name in [
            "",
            ".",
            "..",
            "../models/small",
            "small/",
            "./small",
            "empty",
            "none",
            "sm\0all",
            "ｓmall",
            &path,
        ] {
            assert_eq!(folder.find(name), None, "{name:?}");
        }
    }
}
