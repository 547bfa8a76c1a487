//! Files that are read again while the server runs: keys and certificates are renewed without a restart.

use std::{fmt, path::PathBuf, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// How often the files are looked at. What has changed is taken over when it is the same at two looks, so that no file is
/// read while it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of the settings, and who uses them.
#[derive(Debug, Default)]
pub struct WatchedFiles(Vec<Watched>);

struct Watched {
    /// What they hold, for the log.
    what: &'static str,
    files: Vec<PathBuf>,
    /// Reads them and takes them over; else all that is wrong with them.
    reload: Box<dyn Fn() -> Result<(), Vec<String>> + Send>,
    /// The contents that are in use, or that were refused.
    seen: Fingerprint,
    /// Other contents at the last look.
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

    /// Takes over what changes, for as long as the server runs; at once when `asked` says so. A file that cannot be used
    /// leaves in use what it held before.
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
                    tracing::error!("{what}: the old stays in use, since the new cannot be used: {error}");
                }
            }
        }
    }
}

/// Covers the contents and the access rights, since either can be what has to change. Times would not do: Kubernetes
/// exchanges files by links.
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
