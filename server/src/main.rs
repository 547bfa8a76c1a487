//! The pgfox-server program.

mod program;

use std::{io::Write as _, process::ExitCode};

use pgfox_server::Cli;
use program::Failure;

/// Returns the memory of large requests to the system, which the system's allocator would keep.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    // If that fails, the log says what was not hidden.
    let _ = pgfox_server::hide_passwords();
    // The TLS crates are built without a crypto provider, so that the process has exactly one. Installing it fails only
    // if one is installed already.
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

/// Like `eprintln!`, which panics if the terminal is gone.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "pgfox-server: {text}");
}
