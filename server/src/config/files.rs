//! Reads files again while the server runs, so that keys and certificates can be renewed without a restart.

use std::{fmt, path::PathBuf, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// How often the files are checked. A change is used once two checks see the same contents, so that no file is used
/// while it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files that the settings name, and who uses them.
#[derive(Debug, Default)]
pub struct WatchedFiles(Vec<Watched>);

struct Watched {
    /// The name of the contents in the log.
    what: &'static str,
    files: Vec<PathBuf>,
    /// Reads the files and starts to use them, or returns everything that is wrong with them.
    reload: Box<dyn Fn() -> Result<(), Vec<String>> + Send>,
    /// The contents that are in use or were refused.
    seen: Fingerprint,
    /// Different contents at the last check.
    changed: Option<Fingerprint>,
}

type Fingerprint = [u8; 32];

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct(self.what).field("files", &self.files).finish()
    }
}

impl WatchedFiles {
    pub(super) fn add(
        &mut self,
        what: &'static str,
        files: Vec<PathBuf>,
        reload: impl Fn() -> Result<(), Vec<String>> + Send + 'static,
    ) {
        let seen = fingerprint(&files);
        self.0.push(Watched { what, files, reload: Box::new(reload), seen, changed: None });
    }

    /// Uses changed files for as long as the server runs; reads them at once when `asked` receives something. If a file
    /// cannot be used, its previous contents stay in use.
    pub async fn watch(mut self, mut asked: mpsc::Receiver<()>) {
        loop {
            let at_once = tokio::select! {
                Some(()) = asked.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            if at_once && self.0.is_empty() {
                tracing::info!("SIGHUP: the settings name no file with keys or a certificate to read again");
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.0.iter_mut().for_each(|watched| watched.look(at_once));
                self
            });
            let Ok(looked) = looked.await else { return };
            self = looked;
        }
    }
}

impl Watched {
    fn look(&mut self, at_once: bool) {
        let found = fingerprint(&self.files);
        if !at_once && (found == self.seen || self.changed != Some(found)) {
            self.changed = (found != self.seen).then_some(found);
            return;
        }
        (self.seen, self.changed) = (found, None);
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let (what, files) = (self.what, files.join(", "));
        match (self.reload)() {
            Ok(()) => tracing::info!("{what}: read again from {files}"),
            Err(errors) => {
                for error in errors {
                    tracing::error!("{what}: cannot use the new contents, so the old ones stay in use: {error}");
                }
            }
        }
    }
}

/// Covers the contents and the access rights, since a fix may change either. Modification times do not work: Kubernetes
/// replaces files through links.
fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    use std::os::unix::fs::MetadataExt as _;
    let mut hash = Sha256::new();
    for file in files {
        let mode = std::fs::metadata(file).map(|metadata| metadata.mode()).unwrap_or_default();
        let content = std::fs::read(file).unwrap_or_default();
        hash.update(mode.to_le_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}
