//! The subcommands of the program, its log and its signals.

mod demo;
mod healthcheck;
mod open_files;
mod signals;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use pgfox_server::{
    Cli, Command, DatabaseUrlArgs, EmbeddedOptions, EmbeddedPostgres, LogArgs, LogFormat, MigrateArgs, ServeArgs,
    ServeConfig, Settings, shown_password, stored_database_url,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::signals::Signals;

/// Why the program ends before its work is done.
pub(crate) enum Failure {
    /// The settings are wrong: exit with code 2.
    Settings(Vec<String>),
    /// Something does not work: exit with code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => serve(&cli.serve).await,
        Some(Command::Serve(args)) => serve(&args).await,
        Some(Command::Demo(args)) => {
            init_log(&args.log)?;
            let mut settings = Settings::read_demo(&args).map_err(Failure::Settings)?;
            settings.bound_connections(open_files::raise());
            let stopping = Signals::listen()?.stopping;
            Ok(demo::run(settings, args.listen, args.exit, stopping).await?)
        }
        Some(Command::Migrate(args)) => migrate(&args).await,
        Some(Command::DatabaseUrl(args)) => print_database_url(&args),
        Some(Command::Healthcheck(args)) => Ok(healthcheck::run(&args).await?),
    }
}

async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    init_log(&args.log)?;
    warn(shown_password().as_slice());
    let mut settings = Settings::read(args).map_err(Failure::Settings)?;
    settings.bound_connections(open_files::raise());
    warn(&settings.warnings);
    let Signals { stopping, reload } = Signals::listen()?;
    let _watching = AbortOnDropHandle::new(tokio::spawn(std::mem::take(&mut settings.files).watch(reload)));
    // Bind first, so that an address in use is reported before a database starts.
    let listener = bind(&settings.listen, "--listen").await?;
    let metrics = match &settings.metrics_listen {
        Some(address) => Some(bind(address, "--metrics-listen").await?),
        None => None,
    };
    let Some(started) = stopping.run_until_cancelled(start(settings)).await else {
        return Ok(());
    };
    let (mut config, postgres) = started?;
    config.metrics = metrics;
    let served = serve_on(config, listener, stopping.cancelled_owned()).await;
    stop(postgres).await;
    Ok(served?)
}

async fn migrate(args: &MigrateArgs) -> Result<(), Failure> {
    init_log(&args.log)?;
    warn(shown_password().as_slice());
    let (embedded, database) = Settings::read_migrate(args).map_err(Failure::Settings)?;
    let stopping = Signals::listen()?.stopping;
    let work = async {
        let (url, postgres) = start_database(database.url.clone(), &embedded).await?;
        let (store, warnings) = database.into_store(&url)?;
        warn(&warnings);
        let migrated = pgfox_server::migrate(store, args.wait.unwrap_or_default()).await;
        stop(postgres).await;
        migrated
    };
    until(&stopping, work).await
}

fn print_database_url(args: &DatabaseUrlArgs) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let url = args.url.read(&mut errors);
    if !errors.is_empty() {
        return Err(Failure::Settings(errors));
    }
    if let Some(url) = url {
        println!("{}", url.expose_secret());
        return Ok(());
    }
    let no_folder =
        || Failure::Settings(vec!["there is no home folder: set --data-dir to the folder of the data".into()]);
    let data_dir = args.data_dir().ok_or_else(no_folder)?;
    let url = stored_database_url(&data_dir)?.with_context(|| {
        format!("no server has run on {} yet: start pgfox-server, or set another --data-dir", data_dir.display())
    })?;
    println!("{url}");
    Ok(())
}

/// Starts what serving needs: the embedded database if none is configured and, at the same time, the download of the
/// local model if it is the default.
async fn start(settings: Settings) -> anyhow::Result<(ServeConfig, Option<EmbeddedPostgres>)> {
    let database = start_database(settings.database.url.clone(), &settings.embedded);
    let model = async {
        if settings.needs_fetched_model() {
            settings.embedded.cache.model().await?;
        }
        anyhow::Ok(())
    };
    let ((url, postgres), ()) = tokio::try_join!(database, model)?;
    let (config, warnings) = settings.into_config(&url)?;
    warn(&warnings);
    Ok((config, postgres))
}

async fn start_database(
    url: Option<SecretString>,
    options: &EmbeddedOptions,
) -> anyhow::Result<(SecretString, Option<EmbeddedPostgres>)> {
    if let Some(url) = url {
        return Ok((url, None));
    }
    let postgres = EmbeddedPostgres::start(options).await?;
    let data_dir = options.data_dir.display().to_string();
    tracing::info!(%data_dir, "the embedded PostgreSQL is up; `pgfox-server database-url` prints its URL");
    Ok((postgres.database_url().into(), Some(postgres)))
}

async fn stop(postgres: Option<EmbeddedPostgres>) {
    if let Some(postgres) = postgres {
        postgres.stop().await;
        tracing::info!("the embedded PostgreSQL has stopped");
    }
}

/// Serves, and logs the addresses, since port 0 leaves them open.
async fn serve_on(
    config: ServeConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    if let Some(metrics) = &config.metrics {
        tracing::info!("metrics are at http://{}/metrics", metrics.local_addr()?);
    }
    tracing::info!("listening on {scheme}://{address}");
    pgfox_server::serve(config, listener, shutdown).await
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

async fn bind(address: &str, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another address with {setting}"))
}

fn init_log(args: &LogArgs) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(&args.log)
        .map_err(|error| Failure::Settings(vec![format!("--log {:?}: {error}", args.log)]))?;
    // Lines cannot be written if the terminal is gone. Reporting that would panic, and calls would not finish.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    let log = log.with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).init(),
        // The span is the call, with its id.
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

/// Runs `work`, but stops at a signal.
async fn until(stopping: &CancellationToken, work: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failure> {
    match stopping.run_until_cancelled(work).await {
        Some(result) => Ok(result?),
        None => Ok(()),
    }
}
