//! The arguments that all commands share, and the way from a command to its exit code.

mod changes;
mod collections;
mod columns;
mod documents;
mod evaluate;
mod facets;
mod failure;
mod filter;
mod health;
mod indexes;
mod ingest;
mod json;
mod output;
mod progress;
mod read;
mod search;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use pgfox_client::{Client, ConnectOptions};

use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  pgfox ingest films films.jsonl.gz --create     store documents in a new collection
  pgfox build-index films                        make its searches fast
  pgfox search films \"a fox in love\"             find the nearest documents
  pgfox search films \"a fox in love\" --json      the same for programs
  pgfox list films --where 'year >= 2000'        documents by their metadata

Environment:
  PGFOX_API_KEY   API key of the server, or use --api-key-file

Exit codes:
  0    done
  1    the server refused, or documents were skipped
  2    the command line or its input is wrong
  3    the server cannot be reached
  130  Ctrl-C ended an ingest; the output says what is stored";

/// Semantic search on PostgreSQL and pgvector: the command line of a pgfox server.
#[derive(Parser)]
#[command(name = "pgfox", version, max_term_width = 100, after_help = EXAMPLES, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The options of every command.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// Address of the server: host:port, http://host:port or https://host:port
    #[arg(
        long,
        global = true,
        env = "PGFOX_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    server: String,
    /// File with the API key; PGFOX_API_KEY contains the key itself
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// File with trusted CA certificates in PEM, instead of the system's; implies https
    #[arg(long, global = true, env = "PGFOX_CA", hide_env_values = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Maximum time for a call in seconds; ingest and build-index have no limit
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print JSON instead of text, and errors as JSON on stderr
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no notes
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(subcommand)]
    Collections(collections::Command),
    Ingest(ingest::Ingest),
    BuildIndex(indexes::BuildIndex),
    #[command(subcommand)]
    Indexes(indexes::Command),
    Search(search::Search),
    Evaluate(evaluate::Evaluate),
    Get(documents::Get),
    List(documents::List),
    Count(documents::Count),
    Facets(facets::Facets),
    UpdateMetadata(changes::UpdateMetadata),
    Delete(changes::Delete),
    Health(health::Health),
    Completions(Completions),
}

/// Print a script that completes pgfox commands in a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox completions bash > /etc/bash_completion.d/pgfox
  pgfox completions zsh > ~/.zfunc/_pgfox
  pgfox completions fish > ~/.config/fish/completions/pgfox.fish")]
struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim_end_matches('s').parse().map_err(|_| "write a number of seconds, such as 30".to_owned())?;
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("write 0.001 to 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Globals {
    fn connect_options(&self) -> Result<ConnectOptions, Failure> {
        let api_key = match (&self.api_key_file, std::env::var("PGFOX_API_KEY")) {
            (Some(path), _) => Some(String::from_utf8_lossy(&read_file(path, "API key")?).trim().to_owned()),
            (None, Ok(key)) if !key.trim().is_empty() => Some(key),
            (None, _) => None,
        };
        let ca_pem = self.ca.as_deref().map(|path| read_file(path, "CA")).transpose()?;
        // A person at a terminal should see at once what is wrong.
        let retry = false;
        Ok(ConnectOptions { api_key, ca_pem, call_timeout: self.timeout, retry, ..ConnectOptions::new(&self.server) })
    }

    /// Prints why an answer is empty.
    fn print_notes(&self, filter: &filter::Where, notes: &[String]) {
        if !self.quiet {
            output::note(&filter.notes(notes));
        }
    }

    async fn connect(&self) -> Result<Client, Failure> {
        Ok(pgfox_client::connect(&self.connect_options()?).await?)
    }
}

fn read_file(path: &std::path::Path, what: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read the {what} file {}: {error}", path.display())))
}

/// Parses the arguments, runs the command and returns the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(&cli.globals),
    };
    match runtime.block_on(run(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&cli.globals),
    }
}

async fn run(cli: &Cli) -> Result<(), Failure> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Collections(command) => command.run(globals).await,
        Command::Ingest(command) => command.run(globals).await,
        Command::BuildIndex(command) => command.run(globals).await,
        Command::Indexes(command) => command.run(globals).await,
        Command::Search(command) => command.run(globals).await,
        Command::Evaluate(command) => command.run(globals).await,
        Command::Get(command) => command.run(globals).await,
        Command::List(command) => command.run(globals).await,
        Command::Count(command) => command.run(globals).await,
        Command::Facets(command) => command.run(globals).await,
        Command::UpdateMetadata(command) => command.run(globals).await,
        Command::Delete(command) => command.run(globals).await,
        Command::Health(command) => command.run(globals).await,
        Command::Completions(command) => {
            let mut script = Vec::new();
            clap_complete::generate(command.shell, &mut Cli::command(), "pgfox", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn timeouts() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
        for bad in ["", "-1", "0", "NaN", "1e9", "abc"] {
            assert!(seconds(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
