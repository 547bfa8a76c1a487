//! `pgfox`: the command line of pgfox. Data goes to stdout; messages, progress and errors go to stderr.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
