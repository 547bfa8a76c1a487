//! Runs the `pgfox` command.
