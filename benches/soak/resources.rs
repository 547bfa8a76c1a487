//! The resources of the servers: memory, descriptors, and connections to Postgres.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;

use super::{
    documents::Store,
    readers,
    report::Kind,
    workload::Workload,
    world::{POOL_SIZE, World},
};

/// How much more memory than after the warm-up a server may use: 10 %, for what an allocator keeps by chance.
const MEMORY_FACTOR: f64 = 1.1;
const MEMORY_SLACK: u64 = 8 << 20;
/// The same where the warm-up is too short for an allocator to have met every kind of call.
const SHORT_WARM_UP: Duration = Duration::from_secs(100);
const SHORT_MEMORY_SLACK: u64 = 32 << 20;
/// Connections and descriptors that come and go.
const CONNECTIONS_SLACK: i64 = 2;
const DESCRIPTORS_SLACK: usize = 10;
/// How long connections of vanished callers may be kept: until keepalive detects them.
const LET_GO: Duration = Duration::from_secs(25);

/// How long the numbers to compare with must stay the same.
const UNCHANGED: Duration = Duration::from_secs(3);

/// A server in a time without faults.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    pid: u32,
    since: Option<Instant>,
    /// Resident memory in bytes, the median of several looks.
    memory: u64,
    descriptors: usize,
}

/// The numbers that are compared.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    after_warm_up: [Held; 2],
    connections: Option<i64>,
}

impl Resources {
    /// Looks at the memory for as long as `calm`, while the workload continues.
    pub(crate) async fn memory(&mut self, world: &World, calm: Duration, warm_up: Duration) {
        let slack = if warm_up < SHORT_WARM_UP { SHORT_MEMORY_SLACK } else { MEMORY_SLACK };
        let mut looks: [Vec<u64>; 2] = Default::default();
        let began = Instant::now();
        while began.elapsed() < calm {
            for (replica, looks) in world.replicas.iter().zip(&mut looks) {
                looks.extend(resident(replica.pid().await.unwrap_or(0)));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        for (server, looks) in looks.iter_mut().enumerate() {
            looks.sort_unstable();
            let Some(memory) = looks.get(looks.len() / 2).copied() else { continue };
            let pid = world.replicas[server].pid().await.unwrap_or(0);
            let known = &mut self.after_warm_up[server];
            if known.pid != pid || known.since.is_none_or(|since| since.elapsed() < warm_up) {
                // A process that was started meanwhile warms up again.
                let since = if known.pid == pid { known.since } else { None };
                *known = Held { pid, memory, since: since.or_else(|| Some(Instant::now())), ..*known };
                world.report.say(format_args!("server {}: {} MB", server + 1, memory >> 20));
                world.report.figure(format!("MB of server {} after its warm-up", server + 1), megabytes(memory));
                continue;
            }
            world.report.say(format_args!(
                "server {}: {} MB, {} MB after its warm-up",
                server + 1,
                memory >> 20,
                known.memory >> 20
            ));
            world.report.figure(format!("MB of server {} in the end", server + 1), megabytes(memory));
            let most = (known.memory as f64 * MEMORY_FACTOR) as u64 + slack;
            if memory > most {
                let what = format!(
                    "server {} holds {:.1} MB, after its warm-up {:.1}",
                    server + 1,
                    megabytes(memory),
                    megabytes(known.memory)
                );
                world.report.violation(Kind::Growth, what);
            }
        }
    }

    /// Counts connections and descriptors while nobody calls.
    pub(crate) async fn counts(&mut self, world: &World, workload: &Workload) -> anyhow::Result<()> {
        // Pools are as full as they get, so that the numbers are comparable.
        let sql = world.postgres.connect().await?;
        fill_pools(workload).await;
        let began = Instant::now();
        let mut last = (0, [0; 2]);
        let mut unchanged_since = began;
        let (connections, descriptors) = loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let count = "SELECT count(*) FROM pg_stat_activity
                         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            let connections: i64 = sql.query_one(count, &[]).await?.get(0);
            let mut descriptors = [0; 2];
            for (replica, descriptors) in world.replicas.iter().zip(&mut descriptors) {
                let folder = format!("/proc/{}/fd", replica.pid().await.unwrap_or(0));
                *descriptors = fs::read_dir(folder).map_or(0, Iterator::count);
            }
            if last != (connections, descriptors) {
                last = (connections, descriptors);
                unchanged_since = Instant::now();
            }
            let is_done = match self.connections {
                None => unchanged_since.elapsed() > UNCHANGED,
                Some(before) => {
                    let mut servers = self.after_warm_up.iter().zip(&descriptors);
                    connections <= before + CONNECTIONS_SLACK
                        && servers.all(|(before, now)| *now <= before.descriptors + DESCRIPTORS_SLACK)
                }
            };
            if is_done || began.elapsed() > LET_GO {
                break (connections, descriptors);
            }
        };
        world.report.say(format_args!("{connections} connections to Postgres, descriptors {descriptors:?}"));
        if self.connections.is_some_and(|before| connections > before + CONNECTIONS_SLACK) {
            let list =
                "SELECT format('%s since %s: %s', state, now() - state_change, left(query, 100)) FROM pg_stat_activity
                        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY state_change";
            for session in sql.query(list, &[]).await? {
                world.report.say(session.get::<_, String>(0));
            }
        }
        let report = &world.report;
        let most = 2 * POOL_SIZE as i64 + 8;
        let Some(before) = self.connections else {
            self.connections = Some(connections);
            report.figure("connections to Postgres after the warm-up".into(), connections as f64);
            for (held, now) in self.after_warm_up.iter_mut().zip(descriptors) {
                held.descriptors = now;
            }
            if connections > most {
                report
                    .violation(Kind::Growth, format!("{connections} connections to Postgres, at most {most} expected"));
            }
            return Ok(());
        };
        report.figure("connections to Postgres in the end".into(), connections as f64);
        if connections > before + CONNECTIONS_SLACK {
            let what = format!("{connections} connections to Postgres, after the warm-up {before}");
            report.violation(Kind::Growth, what);
        }
        for (server, (held, now)) in self.after_warm_up.iter().zip(descriptors).enumerate() {
            report.figure(format!("descriptors of server {} in the end", server + 1), now as f64);
            if now > held.descriptors + DESCRIPTORS_SLACK {
                let what =
                    format!("server {} has {now} descriptors, after the warm-up {}", server + 1, held.descriptors);
                report.violation(Kind::Growth, what);
            }
        }
        Ok(())
    }
}

/// Makes as many calls at a time as a pool has connections. More would wait, and a busy machine may refuse them.
async fn fill_pools(workload: &Workload) {
    for server in 0..2 {
        let searches = futures_util::stream::iter(0..POOL_SIZE as u64 * 4);
        let find = |number| readers::find_any(workload, server, Store::Points, number);
        searches.for_each_concurrent(POOL_SIZE, find).await;
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
