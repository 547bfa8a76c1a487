//! The pgfox-server program.

mod program;

use std::{io::Write as _, process::ExitCode};

use pgfox_server::Cli;
use program::Failure;

/// Gives back what large requests took, where the allocator of the system would keep it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    // When that fails the log says what was not hidden.
    let _ = pgfox_server::hide_passwords();
    // The crates that speak TLS are built without a provider of their own, so that there is one. It fails only when there
    // is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(program::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(errors)) => {
            for error in errors {
                complain(&error);
            }
            complain("See pgfox-server --help.");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// As `eprintln!`, which panics when the terminal is gone.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "pgfox-server: {text}");
}
