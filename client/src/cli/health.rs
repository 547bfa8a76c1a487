//! `pgfox health`: shows whether the server, its database and its embedding provider work.

use std::time::Duration;

use clap::Args;
use pgfox_client::Transport;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Globals, failure::Failure, output};

/// The services that grpc.health.v1 knows for pgfox, and their meaning.
const SERVICES: [(&str, &str); 3] = [
    ("", "the server as a whole"),
    ("pgfox.v1.PgfoxService", "the database and its vector extension"),
    ("pgfox.embedder", "the embedding provider"),
];

/// Pause before a new watch after the connection broke.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Show whether the server, its database and its embedding provider work
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox health
  pgfox health --watch    prints a line for every change, until stopped

Exit codes: 0 if the server is healthy, 1 if it is not, 3 if it cannot be reached.")]
pub(crate) struct Health {
    /// Keep running, and print a line for every change
    #[arg(long)]
    watch: bool,
}

impl Health {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let transport = pgfox_client::transport(&globals.connect_options()?).await?;
        if self.watch { watch(globals, &transport).await } else { check(globals, transport).await }
    }
}

async fn check(globals: &Globals, transport: Transport) -> Result<(), Failure> {
    let mut client = HealthClient::new(transport);
    let mut states = Vec::new();
    for (service, _) in SERVICES {
        let state = match client.check(HealthCheckRequest { service: service.to_owned() }).await {
            Ok(response) => response.into_inner().status().as_str_name(),
            // A server without a provider reports nothing about one.
            Err(status) if status.code() == Code::NotFound && !service.is_empty() => "SERVICE_UNKNOWN",
            Err(status) => return Err(status.into()),
        };
        states.push(state);
    }
    if globals.json {
        let services: Map<String, Value> =
            SERVICES.iter().zip(&states).skip(1).map(|((name, _), state)| ((*name).to_owned(), json!(state))).collect();
        output::print_json(&json!({ "overall": states[0], "services": services }))?;
    } else {
        let lines: String = SERVICES
            .iter()
            .zip(&states)
            .map(|((name, meaning), state)| line(name, state) + &format!("  {meaning}\n"))
            .collect();
        output::print(&lines)?;
    }
    if states[0] == ServingStatus::Serving.as_str_name() { Ok(()) } else { Err(Failure::silent()) }
}

fn line(service: &str, state: &str) -> String {
    let name = if service.is_empty() { "overall" } else { service };
    format!("{name:21}  {state:15}")
}

/// Prints changes until it is stopped. If the connection breaks, says so and connects again.
async fn watch(globals: &Globals, transport: &Transport) -> Result<(), Failure> {
    let (sender, mut changes) = mpsc::channel(SERVICES.len());
    for (service, _) in SERVICES {
        tokio::spawn(watch_one(HealthClient::new(transport.clone()), service, sender.clone()));
    }
    drop(sender);
    while let Some((service, state)) = changes.recv().await {
        if globals.json {
            output::print(&(json!({ "service": service, "status": state }).to_string() + "\n"))?;
        } else {
            output::print(&(line(service, state).trim_end().to_owned() + "\n"))?;
        }
    }
    Err(Failure::refused("the server does not report its health"))
}

/// Sends every change of one service. Ends if the server cannot watch at all.
async fn watch_one(
    mut client: HealthClient<Transport>,
    service: &'static str,
    changes: mpsc::Sender<(&'static str, &'static str)>,
) {
    let mut last = "";
    loop {
        let status = loop_responses(&mut client, service, &mut last, &changes).await;
        if status.code() == Code::Unimplemented {
            return;
        }
        if last != "UNREACHABLE" {
            last = "UNREACHABLE";
            if changes.send((service, last)).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn loop_responses(
    client: &mut HealthClient<Transport>,
    service: &'static str,
    last: &mut &'static str,
    changes: &mpsc::Sender<(&'static str, &'static str)>,
) -> Status {
    let mut responses = match client.watch(HealthCheckRequest { service: service.to_owned() }).await {
        Ok(responses) => responses.into_inner(),
        Err(status) => return status,
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => {
                let state = response.status().as_str_name();
                if state != *last {
                    *last = state;
                    if changes.send((service, state)).await.is_err() {
                        return Status::cancelled("nobody listens");
                    }
                }
            }
            Ok(None) => return Status::unavailable("the server ended the stream"),
            Err(status) => return status,
        }
    }
}
