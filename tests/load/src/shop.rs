//! The system under load: real processes, each on its own data.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use proto::command::v1::GetCommandRequest;
use proto::command::v1::command_service_client::CommandServiceClient;
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::processes::{Process, Split, cpu_ms, peak_mb, rss_mb};

/// How long anything may take to serve.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Something that serves PlaceOrder, with its broker.
#[derive(Debug)]
pub(crate) struct Shop {
    processes: Vec<Process>,
    /// Where the gateway listens.
    pub(crate) port: u16,
    pub(crate) nats_url: String,
    /// From its start to its first answer.
    pub(crate) started_in: Duration,
    _folder: TempDir,
}

impl Shop {
    /// Everything in one process, as `millrace up` runs it.
    pub(crate) async fn up() -> Result<Self> {
        let folder = folder()?;
        let (port, began) = (free_port()?, Instant::now());
        let mut up = millrace()?;
        up.arg("up").arg("--data").arg(folder.path().join("data")).args(["--listen", &format!("127.0.0.1:{port}")]);
        up.args(["--metrics-listen", "127.0.0.1:0"]);
        let mut process = Process::spawn(&mut up)?;
        answered(port, &mut process).await?;
        let started_in = began.elapsed();
        let nats_url = broker_of(&folder.path().join("data/nats"))?;
        Ok(Self { processes: vec![process], port, nats_url, started_in, _folder: folder })
    }

    /// What PlaceOrder needs, and nothing that follows it.
    pub(crate) async fn without_billing() -> Result<Self> {
        let folder = folder()?;
        let (broker, nats_url) = broker(folder.path())?;
        let (port, began) = (free_port()?, Instant::now());
        let mut run = millrace()?;
        run.args(["run", "registration", "order", "gateway", "--nats-url", &nats_url, "--database"]);
        run.arg(format!("sqlite://{}/{{service}}.db", folder.path().display()));
        run.arg("--listen").arg(format!("gateway=127.0.0.1:{port},registration=127.0.0.1:0,order=127.0.0.1:0"));
        run.envs(keys(folder.path())?);
        // Nobody is there, and nobody is to be asked.
        run.env("MILLRACE_ENDPOINT_BILLING", "http://127.0.0.1:1").env("MILLRACE_ENDPOINT_USER", "http://127.0.0.1:1");
        let mut process = Process::spawn(&mut run)?;
        answered(port, &mut process).await?;
        let started_in = began.elapsed();
        Ok(Self { processes: vec![process, broker], port, nats_url, started_in, _folder: folder })
    }

    /// Each service on Postgres, with so many instances of order and billing, which share the work.
    pub(crate) async fn on_postgres(database: &str, instances: usize) -> Result<Self> {
        let folder = folder()?;
        let (broker, nats_url) = broker(folder.path())?;
        let (port, began) = (free_port()?, Instant::now());
        let ports: Vec<(&str, u16)> = ["registration", "user", "order", "billing"]
            .into_iter()
            .map(|role| Ok((role, free_port()?)))
            .collect::<Result<_>>()?;
        let keys = keys(folder.path())?;
        let run = |roles: &[&str], listen: String| -> Result<Process> {
            let mut run = millrace()?;
            run.arg("run").args(roles).args(["--nats-url", &nats_url, "--database", database, "--listen", &listen]);
            run.envs(keys.clone());
            run.envs(ports.iter().map(|(role, port)| (endpoint_of(role), format!("http://127.0.0.1:{port}"))));
            Process::spawn(&mut run)
        };
        let at = |role: &str, port: u16| format!("{role}=127.0.0.1:{port}");
        let here = |role: &str| ports.iter().find(|(name, _)| *name == role).map_or(0, |(_, port)| *port);
        let edge = [at("gateway", port), at("registration", here("registration")), at("user", here("user"))];
        let mut processes = vec![run(&["gateway", "registration", "user"], edge.join(","))?];
        for instance in 0..instances {
            // What is asked directly goes to the first; commands and events go to whoever takes them.
            let of = |role| at(role, if instance == 0 { here(role) } else { 0 });
            processes.push(run(&["order", "billing"], [of("order"), of("billing")].join(","))?);
        }
        answered(port, &mut processes[0]).await?;
        processes.push(broker);
        Ok(Self { processes, port, nats_url, started_in: began.elapsed(), _folder: folder })
    }

    /// The hand-written path: a process for each part, as this same executable.
    pub(crate) fn floor() -> Result<Self> {
        let folder = folder()?;
        let (broker, nats_url) = broker(folder.path())?;
        let began = Instant::now();
        let part = |name: &str| -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([name, &nats_url]);
            Ok(command)
        };
        let mut order =
            Process::spawn(part("floor-order")?.arg(folder.path().join("order.db")).stdout(Stdio::piped()))?;
        first_line(&mut order)?;
        let mut gateway = Process::spawn(part("floor-gateway")?.stdout(Stdio::piped()))?;
        let port = first_line(&mut gateway)?.trim().parse().context("the floor's gateway names no port")?;
        let processes = vec![gateway, order, broker];
        Ok(Self { processes, port, nats_url, started_in: began.elapsed(), _folder: folder })
    }

    pub(crate) fn cpu_ms(&self) -> Result<Split> {
        cpu_ms(&self.processes)
    }

    pub(crate) fn rss_mb(&self) -> Result<Split> {
        rss_mb(&self.processes)
    }

    pub(crate) fn peak_mb(&self) -> Result<Split> {
        peak_mb(&self.processes)
    }
}

/// The binary beside this one.
fn millrace() -> Result<Command> {
    let binary = std::env::current_exe()?.with_file_name("millrace");
    ensure!(binary.exists(), "{} is not there: build it with `cargo build --release -p millrace`", binary.display());
    let mut command = Command::new(binary);
    command.env("MILLRACE_LOG", std::env::var("MILLRACE_LOG").unwrap_or_else(|_| "warn".to_owned()));
    command.stdout(Stdio::null());
    Ok(command)
}

/// On the disk that the build is on: memory would hide what a commit costs.
fn folder() -> Result<TempDir> {
    let beside = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    Ok(TempDir::with_prefix_in("load-", beside)?)
}

fn broker(folder: &Path) -> Result<(Process, String)> {
    let mut command = millrace()?;
    command.args(["broker", "--store"]).arg(folder.join("nats")).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let line = first_line(&mut process)?;
    let url = line.split_whitespace().next().context("the broker says no address")?.to_owned();
    Ok((process, url))
}

/// Where the broker of this store listens, by its configuration.
fn broker_of(store: &Path) -> Result<String> {
    let text = std::fs::read_to_string(store.join("nats-server.conf"))?;
    let configuration: serde_json::Value = serde_json::from_str(&text)?;
    Ok(format!("nats://{}", configuration["listen"].as_str().context("the broker listens nowhere")?))
}

fn endpoint_of(role: &str) -> String {
    format!("MILLRACE_ENDPOINT_{}", role.to_uppercase())
}

fn keys(folder: &Path) -> Result<BTreeSet<(String, String)>> {
    let output = millrace()?.arg("keys").arg("--data").arg(folder).stdout(Stdio::piped()).output()?;
    ensure!(output.status.success(), "`millrace keys` failed");
    let text = String::from_utf8(output.stdout)?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// What a process says first.
fn first_line(process: &mut Process) -> Result<String> {
    let output = process.child().stdout.take().context("its output is not piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(!line.is_empty(), "it ended before it served");
    Ok(line)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until the gateway answers a call, whatever it says.
async fn answered(port: u16, process: &mut Process) -> Result<()> {
    let began = Instant::now();
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    while began.elapsed() < START_LIMIT {
        if let Ok(channel) = endpoint.connect().await {
            let status = CommandServiceClient::new(channel).get_command(GetCommandRequest::default()).await;
            if status.is_err_and(|status| status.code() == tonic::Code::Unauthenticated) {
                return Ok(());
            }
        }
        process.ensure_alive()?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("nothing served within {START_LIMIT:?}")
}

/// Where the raw parts put their files.
pub(crate) fn scratch() -> Result<(TempDir, PathBuf)> {
    let folder = folder()?;
    let path = folder.path().to_owned();
    Ok((folder, path))
}

/// A broker alone.
pub(crate) fn broker_alone(folder: &Path) -> Result<(Process, String)> {
    broker(folder)
}
