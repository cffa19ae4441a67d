use std::{
    env, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    Binary, Error, Settings,
    supervisor::{Order, Report, SUBCOMMAND},
};

/// Where `scripts/nats-server` puts what it fetches, seen from the project's folder.
const FETCHED: &str = ".tools";
/// A supervisor waits for the store and the server itself; this is for one that hangs.
const START_LIMIT: Duration = Duration::from_secs(90);
/// The server has 10 s to stop before its supervisor kills it.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Between two supervisors.
const PAUSE: Duration = Duration::from_secs(1);
/// NATS's own default.
const MAX_PAYLOAD: u32 = 1 << 20;

/// Which broker to run, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nats-server executable; `None` looks on PATH and where the project fetches it.
    pub binary: Option<PathBuf>,
    /// The executable that answers to [`SUBCOMMAND`]; `None` is the one that runs now.
    pub supervisor: Option<PathBuf>,
    /// Store, port and limits.
    pub settings: Settings,
}

impl Config {
    /// The defaults: any free port, messages of 1 MiB, the server's own sync interval.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        let settings = Settings { store: store.into(), port: None, max_payload: MAX_PAYLOAD, sync_interval: None };
        Self { binary: None, supervisor: None, settings }
    }
}

/// A supervised nats-server that ends with this process, however that ends, and is started again on the same port if it ends alone.
///
/// Dropping it stops the server in the background; [`Broker::stop`] also waits for that.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    pid: watch::Receiver<u32>,
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Broker {
    /// Starts the server and waits until it serves: about 0.1 s, or as long as it takes to read a large store, 60 s at most.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let Config { binary, supervisor, settings } = config;
        let executable = match supervisor {
            Some(path) => path,
            None => env::current_exe().map_err(|error| refused(Path::new(SUBCOMMAND), &error))?,
        };
        let found = spawn_blocking(move || Binary::find(binary.as_deref(), Path::new(FETCHED))).await;
        let binary = found.map_err(|error| Error::Reported(error.to_string()))??.path().to_owned();
        let mut order = Order { binary, settings };
        let (supervisor, port, pid) = Supervisor::start(&executable, &order).await?;
        order.settings.port = Some(port);
        let (stop, stopped) = oneshot::channel();
        let (pids, pid) = watch::channel(pid);
        let keeper = tokio::spawn(keep(supervisor, executable, order, pids, stopped));
        Ok(Self { port, pid, stop, keeper })
    }

    /// What a NATS client connects to. It never changes.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The server's process, which changes when it is started again.
    pub fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    /// Lets the server finish and waits until it and its supervisor have ended, 15 s at most.
    pub async fn stop(self) {
        let Self { port: _, pid: _, stop, keeper } = self;
        drop(stop);
        let _ = keeper.await;
    }
}

/// Notes what the supervisor says, and replaces it if it ends, until `stopped` resolves.
async fn keep(
    mut supervisor: Supervisor,
    executable: PathBuf,
    order: Order,
    pids: watch::Sender<u32>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        let reason = tokio::select! {
            biased;
            _ = &mut stopped => return supervisor.stop().await,
            reason = supervisor.watch(&pids) => reason,
        };
        tracing::warn!(reason, "the broker's supervisor ended and is started again");
        supervisor = tokio::select! {
            biased;
            _ = &mut stopped => return,
            supervisor = Supervisor::replace(&executable, &order, &pids) => supervisor,
        };
    }
}

/// The supervising process, seen from its parent. Dropping it closes the pipe, and thereby ends it and its server.
struct Supervisor {
    process: Child,
    alive: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Supervisor {
    /// Gives also the server's port and process.
    async fn start(executable: &Path, order: &Order) -> Result<(Self, u16, u32), Error> {
        let text = serde_json::to_string(order).map_err(|error| refused(executable, &error.into()))?;
        let mut supervisor = Self::spawn(executable).map_err(|error| refused(executable, &error))?;
        let line = format!("{text}\n");
        // If it ends at once, its last report says more than the broken pipe.
        let _ = supervisor.alive.write_all(line.as_bytes()).await;
        match timeout(START_LIMIT, supervisor.report()).await {
            Ok(Some(Report::Serving { port, pid })) => Ok((supervisor, port, pid)),
            Ok(Some(Report::Ended { reason } | Report::GaveUp { reason })) => Err(Error::Reported(reason)),
            Ok(None) => Err(refused(executable, &io::ErrorKind::UnexpectedEof.into())),
            Err(_) => Err(Error::Slow(START_LIMIT)),
        }
    }

    async fn replace(executable: &Path, order: &Order, pids: &watch::Sender<u32>) -> Self {
        loop {
            match Self::start(executable, order).await {
                Ok((supervisor, _, pid)) => {
                    pids.send_replace(pid);
                    return supervisor;
                }
                Err(error) => tracing::error!(%error, "the broker cannot be started again"),
            }
            sleep(PAUSE).await;
        }
    }

    fn spawn(executable: &Path) -> io::Result<Self> {
        let mut command = Command::new(executable);
        // A process group of its own: Ctrl-C in a terminal is for us alone, who drain before the broker goes.
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn()?;
        let alive = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { process, alive, reports: BufReader::new(output).lines() })
    }

    /// The next report; `None` once it has ended.
    async fn report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Notes the server's process whenever it changes; returns when there is no supervisor any more, with the reason.
    async fn watch(&mut self, pids: &watch::Sender<u32>) -> String {
        loop {
            match self.report().await {
                Some(Report::Serving { pid, port: _ }) => {
                    tracing::info!(pid, "the broker serves again");
                    pids.send_replace(pid);
                }
                Some(Report::Ended { reason }) => tracing::warn!(reason, "the broker ended and is started again"),
                Some(Report::GaveUp { reason }) => return reason,
                None => return "it was killed".to_owned(),
            }
        }
    }

    async fn stop(self) {
        let Self { mut process, alive, reports: _reports } = self;
        drop(alive);
        if timeout(STOP_LIMIT, process.wait()).await.is_err() {
            let _ = process.start_kill();
        }
    }
}

fn refused(executable: &Path, error: &io::Error) -> Error {
    Error::Supervisor { path: executable.to_owned(), reason: error.to_string() }
}
