//! Two servers on one Postgres, callers that write and read, and random faults.
//!
//! ```text
//! cargo bench -p pgfox-server --bench soak                                 # a minute
//! cargo bench -p pgfox-server --bench soak -- --time 30m                   # as before a release
//! cargo bench -p pgfox-server --bench soak -- --time 30m --seed 7 --json   # the same faults again
//! cargo bench -p pgfox-server --bench soak -- --only "SIGKILL of server"   # faults with this name
//! ```
//!
//! The seed decides which faults come, in which order, and how long they last. The soak fails if acknowledged data is
//! lost, doubled or torn, or if health is wrong for too long. It also fails if the service is not back in time, or if a
//! server uses more resources than after the warm-up.

mod calls;
mod check;
mod conditional;
mod documents;
mod faults;
mod health;
mod hostile;
mod keepers;
mod ledger;
mod provider;
mod proxy;
mod readers;
mod report;
mod resources;
#[path = "../setup.rs"]
mod setup;
mod workload;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use rand::{RngExt as _, rngs::StdRng};
use tokio::task::{JoinSet, LocalSet};

use calls::Callers;
use check::Acknowledged;
use conditional::Counters;
use documents::Store;
use faults::{Plan, Round};
use health::Watcher;
use keepers::Keep;
use report::{Kind, Report};
use resources::Resources;
use workload::{Workload, Writer, random};
use world::World;

/// How long the service may take to be back once the cause of an outage has ended.
const BACK: Duration = Duration::from_secs(5);
/// If a few calls take longer than this without a fault, other calls may miss their deadlines too.
const BUSY: Duration = Duration::from_millis(500);
/// A run that is shorter than this has shorter faults.
const QUICK: Duration = Duration::from_secs(5 * 60);
/// How often the stored data is compared. It is also compared at the end.
const CHECK_EVERY: Duration = Duration::from_secs(3 * 60);
const USAGE: &str = "usage: soak [--time 30m] [--seed NUMBER] [--only FAULT] [--json]";

struct Arguments {
    time: Duration,
    seed: u64,
    only: String,
    is_json: bool,
}

impl Arguments {
    fn read() -> anyhow::Result<Self> {
        let mut found = Self {
            time: Duration::from_secs(60),
            seed: rand::rng().random_range(0..1_000_000),
            only: String::new(),
            is_json: false,
        };
        let mut arguments = setup::arguments().into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => found.is_json = true,
                "--seed" => found.seed = arguments.next().and_then(|seed| seed.parse().ok()).context(USAGE)?,
                "--only" => found.only = arguments.next().context(USAGE)?,
                "--time" => found.time = arguments.next().as_deref().and_then(duration).context(USAGE)?,
                _ => anyhow::bail!(USAGE),
            }
        }
        Ok(found)
    }
}

/// Such as 90s, 30m or 8h.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok().map(|number| Duration::from_secs(number * seconds))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read()?;
    let report = Arc::new(Report::new(arguments.seed));
    report.say(format_args!("seed {}, {:?}", arguments.seed, arguments.time));
    let world = World::start(Arc::clone(&report)).await?;
    // The tasks of the workload share a thread; proxies and other parts have another one.
    let local = LocalSet::new();
    let ran = tokio::select! {
        ran = local.run_until(soak(&world, &arguments)) => ran,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    for (server, replica) in world.replicas.iter().enumerate() {
        let log = replica.log();
        if let Some(panic) = log.iter().find(|line| line.contains("panicked")) {
            report.violation(Kind::Error, format!("server {} panicked: {panic}", server + 1));
        }
        if ran.is_err() || !report.is_clean() {
            eprintln!("the end of the log of server {}:\n{}", server + 1, log.join("\n"));
        }
    }
    world.stop().await?;
    if arguments.is_json {
        report.print_json();
    } else {
        report.print();
    }
    ran?;
    ensure!(report.is_clean(), "something is wrong; --seed {} makes the same faults again", arguments.seed);
    Ok(())
}

/// One run.
struct Soak<'a> {
    world: &'a World,
    workload: Arc<Workload>,
    counters: Arc<Counters>,
    keep: Arc<Keep>,
    health: Watcher,
    resources: Resources,
    warm_up: Duration,
    calm: Duration,
}

async fn soak(world: &World, arguments: &Arguments) -> anyhow::Result<()> {
    let report = &world.report;
    set_up(world).await?;
    let callers = Callers::new([world.replicas[0].channel()?, world.replicas[1].channel()?], Arc::clone(report));
    let is_quick = arguments.time < QUICK;
    let mut soak = Soak {
        world,
        workload: Arc::new(Workload::new(callers, Arc::clone(report))),
        counters: Arc::default(),
        keep: Arc::default(),
        health: Watcher::start(world),
        resources: Resources::default(),
        warm_up: arguments.time / 3,
        calm: Duration::from_secs(if is_quick { 3 } else { 15 }),
    };
    let mut tasks = soak.tasks(arguments.seed);
    let mut plan = Plan::new(random(arguments.seed, "faults"), is_quick, arguments.only.clone());
    let mut pauses = random(arguments.seed, "pauses");
    let began = Instant::now();
    let mut checked = None;
    while began.elapsed() < arguments.time && !report.is_full() {
        let elapsed = began.elapsed();
        // Memory is only compared within the life of a process.
        let may_replace = match checked {
            None => [true, true],
            Some(_) => [false, elapsed < arguments.time * 6 / 10],
        };
        soak.round(&plan.next(may_replace), &mut pauses).await?;
        let is_due = match checked {
            None => began.elapsed() > soak.warm_up,
            Some(checked) => Instant::now() - checked > CHECK_EVERY,
        };
        if is_due {
            soak.checkpoint().await?;
            checked = Some(Instant::now());
        }
    }
    soak.checkpoint().await?;
    soak.workload.stopping.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the workload panicked")?;
    }
    Ok(())
}

/// Waits for the servers and creates the collections.
async fn set_up(world: &World) -> anyhow::Result<()> {
    let mut client = PgfoxServiceClient::new(world.replicas[0].channel()?);
    let began = Instant::now();
    while let Err(status) = client.list_collections(v1::ListCollectionsRequest::default()).await {
        ensure!(began.elapsed() < Duration::from_secs(60), "the servers do not get ready: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for store in Store::ALL {
        client
            .create_collection(v1::CreateCollectionRequest {
                collection: Some(store.collection()),
                ..Default::default()
            })
            .await?;
    }
    world.wait_for_service(Instant::now(), BACK * 2, Duration::ZERO, "the start").await
}

impl Soak<'_> {
    /// The workload. Its tasks end when the workload is stopped.
    fn tasks(&self, seed: u64) -> JoinSet<Option<()>> {
        let mut tasks = JoinSet::new();
        let workload = || Arc::clone(&self.workload);
        let writers = [Store::Points, Store::Points, Store::Points, Store::Texts, Store::Texts, Store::Passages];
        for (number, store) in (0..).zip(writers) {
            tasks.spawn_local(Writer::new(workload(), store, number, seed).run());
        }
        for store in [Store::Points, Store::Texts] {
            tasks.spawn_local(conditional::versions(workload(), store, random(seed, store.name())));
        }
        for task in ["count 1", "count 2"] {
            tasks.spawn_local(conditional::count(workload(), Arc::clone(&self.counters), random(seed, task)));
        }
        tasks.spawn_local(conditional::race(workload()));
        for task in ["search 1", "search 2", "search 3"] {
            tasks.spawn_local(readers::searcher(workload(), random(seed, task)));
        }
        tasks.spawn_local(readers::lister(workload(), random(seed, "list")));
        tasks.spawn_local(keepers::indexer(workload(), Arc::clone(&self.keep), random(seed, "index")));
        tasks.spawn_local(keepers::churner(workload(), Arc::clone(&self.keep)));
        tasks.spawn_local(keepers::mover(workload(), Arc::clone(&self.keep)));
        tasks
    }

    /// Makes faults, ends them, and waits until everything works.
    async fn round(&self, round: &Round, pauses: &mut StdRng) -> anyhow::Result<()> {
        let report = &self.world.report;
        let names: Vec<String> = round.faults.iter().map(ToString::to_string).collect();
        let name = names.join(" and ");
        report.say(format_args!("{name}, for {:.1?}", round.lasts));
        names.iter().for_each(|name| report.count(&format!("times: {name}"), 1));

        let before = self.world.time_service().await.with_context(|| format!("before {name}"))?;
        let mut underway = Vec::new();
        for fault in &round.faults {
            underway.push((fault, fault.begin(self.world).await?));
        }
        let began = Instant::now();
        tokio::time::sleep(round.lasts).await;
        let ending = Instant::now();
        let mut ended = ending;
        for (fault, underway) in underway {
            ended = ended.max(fault.end(self.world, underway).await?);
        }
        let name = &format!("{name} for {:.1?}", round.lasts);
        for server in 0..2 {
            let truths = round.faults.iter().map(|fault| fault.truth(server));
            let truth = truths.reduce(health::Truth::and).unwrap_or(health::Truth::Any);
            self.health.check_during(server, truth, began, ending, name);
        }
        let service = self.world.wait_for_service(ended, BACK, before, name);
        let (service, (), ()) =
            tokio::join!(service, self.health.check_after(0, ended, name), self.health.check_after(1, ended, name));
        service?;
        tokio::time::sleep(Duration::from_millis(pauses.random_range(200..1500))).await;
        Ok(())
    }

    /// A time without faults, in which no call may fail; then everything is compared.
    async fn checkpoint(&mut self) -> anyhow::Result<()> {
        // Calls that began earlier may still fail.
        tokio::time::sleep(calls::DEADLINE / 2).await;
        let took = self.world.time_service().await.context("after the faults")?;
        if took > BUSY {
            self.world.report.say(format_args!("the machine is busy ({took:.1?}): no call is blamed for failing"));
        }
        let began = Instant::now();
        self.workload.callers.set_calm(took <= BUSY);
        self.resources.memory(self.world, self.calm, self.warm_up).await;
        for server in 0..2 {
            self.health.check_calm(server, began, Instant::now());
        }
        let workload = Arc::clone(&self.workload);
        let _nobody = workload.gate.write().await;
        let reported = Acknowledged { workload: &workload, counters: &self.counters, keep: &self.keep };
        check::check(self.world, &reported).await?;
        self.resources.counts(self.world, &workload).await?;
        self.workload.callers.set_calm(false);
        Ok(())
    }
}
