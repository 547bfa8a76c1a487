//! The pgfox-server program: subcommands, signals and exit codes.

mod program;

use std::{future::Future, io::IsTerminal as _, process::ExitCode};

use anyhow::Context as _;
use pgfox_server::{Cli, LogArgs, LogFormat};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a program that a signal ends exits with: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Why the program ends before its work is done.
enum Failure {
    /// The settings are wrong: exit code 2.
    Settings(Vec<String>),
    /// Something does not work: exit code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

fn main() -> ExitCode {
    let cli = Cli::read();
    // The crates that speak TLS are built without a provider of their own, so that there is one. It fails only when there
    // is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pgfox-server: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(program::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(errors)) => {
            for error in errors {
                eprintln!("pgfox-server: {error}");
            }
            eprintln!("See pgfox-server --help.");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("pgfox-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init_log(args: &LogArgs) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(&args.log)
        .map_err(|error| Failure::Settings(vec![format!("--log {:?}: {error}", args.log)]))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).init(),
        // The span is the call, with its id.
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

/// A token that the first SIGTERM or SIGINT cancels; the second one ends the process.
fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let token = CancellationToken::new();
    let stopping = token.clone();
    tokio::spawn(async move {
        for attempt in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if attempt > 0 {
                std::process::exit(EXIT_INTERRUPTED);
            }
            tracing::info!("stopping: running calls finish first; a second signal stops at once");
            stopping.cancel();
        }
    });
    Ok(token)
}

/// Runs `work`, but no longer than until a signal comes.
async fn until(stopping: &CancellationToken, work: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failure> {
    match stopping.run_until_cancelled(work).await {
        Some(result) => Ok(result?),
        None => Ok(()),
    }
}
