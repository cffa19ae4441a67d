use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::Process;

const SERVICES: [&str; 4] = ["registration", "user", "order", "billing"];

/// A shop whose parts are processes of their own, with its data in a folder that is thrown away.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) gateway: SocketAddr,
    pub(crate) pid: u32,
    /// In the order in which they end.
    _processes: Vec<Process>,
    _folder: TempDir,
}

impl Shop {
    pub(crate) fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("millrace-abuse-")?;
        let mut broker = millrace(&[])?;
        broker.args(["broker", "--store"]).arg(folder.path().join("nats")).stdout(Stdio::piped());
        let mut broker = Process::spawn(&mut broker)?;
        let line = broker.first_line()?;
        let nats = line.split_whitespace().next().context("the broker says no address")?;

        let mut variables = keys(folder.path())?;
        variables.push(("MILLRACE_NATS_URL".to_owned(), nats.to_owned()));
        variables
            .push(("MILLRACE_DATABASE".to_owned(), format!("sqlite://{}/{{service}}.db", folder.path().display())));
        let mut addresses = Vec::new();
        for service in SERVICES {
            let address = free_address()?;
            variables.push((format!("MILLRACE_ENDPOINT_{}", service.to_uppercase()), format!("http://{address}")));
            addresses.push((service, address));
        }
        let run = |role: &str, address: SocketAddr| {
            Process::spawn(millrace(&variables)?.args(["run", role, "--listen", &address.to_string()]))
        };
        let gateway = free_address()?;
        let mut processes = vec![run("gateway", gateway)?];
        let pid = processes[0].id();
        for (service, address) in addresses {
            processes.push(run(service, address)?);
        }
        processes.push(broker);
        Ok(Self { gateway, pid, _processes: processes, _folder: folder })
    }
}

/// The binary beside this one.
fn millrace(variables: &[(String, String)]) -> Result<Command> {
    let binary = std::env::current_exe()?.with_file_name("millrace");
    ensure!(binary.exists(), "{} is not there: use `make abuse`, which builds it", binary.display());
    let mut command = Command::new(binary);
    command.env("MILLRACE_LOG", std::env::var("MILLRACE_LOG").unwrap_or_else(|_| "error".to_owned()));
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdout(Stdio::null());
    Ok(command)
}

fn keys(folder: &Path) -> Result<Vec<(String, String)>> {
    let output = millrace(&[])?.arg("keys").arg("--data").arg(folder).stdout(Stdio::piped()).output()?;
    ensure!(output.status.success(), "`millrace keys` failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
