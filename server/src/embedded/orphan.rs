//! The PostgreSQL process of a data directory: finds it, and stops it if a killed server left it running.

use std::{fs, io};

use rustix::process::{Pid, Signal};

use super::{EmbeddedError, POLL, data_dir::DataDir};

impl DataDir {
    /// The process id and status line of postmaster.pid.
    pub(super) fn postmaster(&self) -> Option<(Pid, String)> {
        let text = fs::read_to_string(self.cluster().join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
        Some((pid, lines.nth(6).unwrap_or_default().trim().to_owned()))
    }

    /// Stops a PostgreSQL that a killed server left running, so that this server can start and watch its own.
    pub(super) async fn stop_orphan(&self) -> Result<(), EmbeddedError> {
        let Some((pid, _)) = self.postmaster() else {
            return Ok(());
        };
        for (signal, limit) in super::postmaster::SHUTDOWN {
            if !self.is_postmaster(pid) {
                break;
            }
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, signal);
            let ended = async {
                while self.is_postmaster(pid) {
                    tokio::time::sleep(POLL).await;
                }
            };
            let _ = tokio::time::timeout(limit, ended).await;
        }
        // After a restart of the machine or a container another process may have this process id. PostgreSQL would take
        // it for a running server.
        let path = self.cluster().join("postmaster.pid");
        if path.exists() && !self.is_postmaster(pid) && rustix::process::test_kill_process(pid).is_ok() {
            fs::remove_file(&path).map_err(EmbeddedError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Whether a process is the PostgreSQL of this directory.
    fn is_postmaster(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().to_string();
        let command = if cfg!(target_os = "linux") {
            fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
        } else {
            let output = std::process::Command::new("/bin/ps").args(["-ww", "-o", "command=", "-p", &pid]).output();
            output.map(|output| output.stdout).unwrap_or_default()
        };
        String::from_utf8_lossy(&command).contains(&*self.cluster().to_string_lossy())
    }
}

/// Kills a process at once. Tests do this to PostgreSQL.
pub(super) fn kill(pid: Pid) -> io::Result<()> {
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_with_the_process_id_is_not_taken_for_postgres() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        fs::create_dir(data_dir.cluster()).unwrap();
        let pid_file = data_dir.cluster().join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n\n\n\n\n\n\nready   \n", std::process::id())).unwrap();
        let (pid, status) = data_dir.postmaster().unwrap();
        assert_eq!((pid.as_raw_nonzero().get(), status.as_str()), (std::process::id() as i32, "ready"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(data_dir.stop_orphan()).unwrap();
        assert!(!pid_file.exists());
    }
}
