//! The command line.

mod arguments;
mod maintain;
mod operate;
mod staff;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use millrace::broker::{self, Broker};
use millrace::keys::{self, Holder};
use millrace::{Role, Shop, demo, up};
use serve::telemetry::{self, Recorder, Telemetry};
use serve::transport::raise_open_files;
use serve::{metrics, transport};
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command, RunArguments, UpArguments};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans that the demo keeps.
const SPANS: usize = 20_000;

fn main() -> ExitCode {
    // A page of 2 MB for each thread's few kilobytes doubles what the process holds at rest. Where it cannot be had otherwise, it is more
    // memory and nothing else.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let outcome = match Arguments::parse().command {
        // It runs before any runtime: the server's life hangs on the thread that starts it.
        Command::SuperviseBroker { arguments } => return broker::supervise(&arguments),
        Command::Broker { store, port, nats_server } => run_broker(store, port, nats_server),
        Command::Up(arguments) => run_up(&arguments),
        Command::Run(arguments) => run_roles(&arguments),
        Command::Demo { nats_url, nats_server } => run_demo(nats_url, nats_server),
        Command::Keys { data, holders } => print_keys(&data, &holders),
        Command::Parked { action } => run_operator(operate::parked(&action)),
        Command::Commands { action } => run_operator(operate::commands(&action)),
        Command::Status(which) => run_operator(maintain::status(&which)),
        Command::Epoch { action } => run_operator(maintain::epoch(&action)),
        Command::Replica { action } => run_operator(maintain::replica(&action)),
        Command::Projection { action } => run_operator(maintain::projection(&action)),
        Command::Subscription { action } => run_operator(maintain::subscription(&action)),
        Command::User { action } => run_operator(staff::user(&action)),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // Whoever read what is told, such as `head`, has read enough.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "millrace: {}", in_one_sentence(&error));
    ExitCode::FAILURE
}

/// The error with its causes, as far as it does not tell them itself.
fn in_one_sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn run_up(arguments: &UpArguments) -> anyhow::Result<()> {
    let telemetry = install(&Role::ALL, None)?;
    raise_open_files();
    let measured = measure(arguments.metrics_listen)?;
    let up = up::Up::start(&arguments.options()).await?;
    say(&format!("Millrace serves gRPC and gRPC-Web on http://{}", up.shop.address(Role::Gateway)))?;
    say(&format!("its metrics are at http://{measured}/metrics"))?;
    say(&format!("its data is in {}; Ctrl-C stops it", arguments.data.display()))?;
    let ended = tokio::select! { biased;
        stopped = told_to_stop() => stopped,
        ended = up.shop.any_ended() => ended.map_err(anyhow::Error::from),
    };
    up.stop().await?;
    telemetry.shutdown().await;
    ended
}

#[tokio::main(flavor = "current_thread")]
async fn run_roles(arguments: &RunArguments) -> anyhow::Result<()> {
    let telemetry = install(&arguments.roles, None)?;
    raise_open_files();
    let settings = arguments.settings(|name| std::env::var(name).ok())?;
    let measured = arguments.metrics_listen.map(measure).transpose()?;
    let shop = Shop::start(settings, &arguments.roles).await?;
    for role in &arguments.roles {
        say(&format!("{role} serves on {}", shop.address(*role)))?;
    }
    if let Some(address) = measured {
        say(&format!("metrics are at http://{address}/metrics"))?;
    }
    let ended = tokio::select! { biased;
        stopped = told_to_stop() => stopped,
        ended = shop.any_ended() => ended.map_err(anyhow::Error::from),
    };
    shop.stop().await?;
    telemetry.shutdown().await;
    ended
}

#[tokio::main(flavor = "current_thread")]
async fn run_demo(nats_url: Option<String>, nats_server: Option<PathBuf>) -> anyhow::Result<()> {
    let recorder = Recorder::new(SPANS);
    let telemetry = install(&Role::ALL, Some(recorder.clone()))?;
    let nats_url = nats_url.filter(|url| !url.is_empty());
    tokio::select! { biased;
        told = demo::run(nats_url, nats_server, &recorder) => told?,
        // What was begun ends with the process, and its folder with the story.
        stopped = told_to_stop() => {
            stopped?;
            anyhow::bail!("the demo was stopped before its end");
        }
    }
    telemetry.shutdown().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn run_operator(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    work.await
}

fn print_keys(data: &Path, holders: &[Holder]) -> anyhow::Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot write to the folder {}", data.display()))?;
    let master = keys::read_or_draw(&data.join(keys::MASTER))?;
    let is_meant = |holder: Holder| holders.is_empty() || holders.contains(&holder);
    let roles: Vec<_> = Role::ALL.into_iter().filter(|role| is_meant(Holder::Role(*role))).collect();
    write!(io::stdout(), "{}", keys::variables(&master, &roles))?;
    if is_meant(Holder::Operator) {
        write!(io::stdout(), "{}", keys::operator_variables(&master))?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn run_broker(store: PathBuf, port: Option<u16>, binary: Option<PathBuf>) -> anyhow::Result<()> {
    let mut config = broker::Config::new(store);
    config.binary = binary;
    config.settings.port = port;
    let broker = Broker::start(config).await?;
    say(&format!("{} {}", broker.url(), broker.pid()))?;
    told_to_stop().await?;
    broker.stop().await;
    Ok(())
}

/// Logs for people are quiet in the demo, whose output is its story.
fn install(roles: &[Role], recorder: Option<Recorder>) -> anyhow::Result<Telemetry> {
    let names = roles.iter().map(|role| role.name().to_owned()).collect();
    let mut config = telemetry::Config::from_env(names, |name| std::env::var(name).ok())?;
    if recorder.is_some() && std::env::var("MILLRACE_LOG").is_err() {
        "error".clone_into(&mut config.filter);
    }
    config.recorder = recorder;
    Ok(Telemetry::install(config)?)
}

/// Measures from now on, and serves what is measured as long as the process lives.
fn measure(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    let (incoming, address) = transport::bind(listen).context("metrics cannot be served")?;
    metrics::install()?;
    tokio::spawn(async move {
        if let Err(error) = metrics::serve(incoming).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}

/// Ctrl-C, or what an orchestrator sends.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    tokio::select! { biased;
        interrupt = tokio::signal::ctrl_c() => interrupt.context("signals cannot be received"),
        _ = terminate.recv() => Ok(()),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
