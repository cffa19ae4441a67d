//! Attacks a gateway while an honest customer goes on buying, and tells what each attack cost. `--help` tells how.
//!
//! - `shop`, `process`: a shop of real processes, and what the kernel says of the gateway's.
//! - `honest`: the customer whom the attacks must not touch.
//! - `run`: one attack after the other. `report`: what is told of them, and which bounds must hold.

mod honest;
mod process;
mod report;
mod run;
mod shop;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use abuse::attack;
use clap::Parser;
use millrace_abuse as abuse;
use tokio::signal::unix::{SignalKind, signal};

/// Attacks a gateway in every way that we know, while an honest customer places orders from another address. Fails if the gateway goes down,
/// keeps too much memory or too many files, or does not serve the customer.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each attack lasts, in seconds. A head that drips is cut after 30, so slowloris shows all only in 45.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=240))]
    seconds: u64,
    /// Only these attacks, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<String>,
    /// A gateway that runs already, on a loopback address; otherwise a shop is started and thrown away.
    #[arg(long, value_parser = loopback)]
    target: Option<SocketAddr>,
    /// The process of that gateway; without it, its memory and files are not measured.
    #[arg(long, requires = "target")]
    pid: Option<u32>,
    /// Tells what there is, and does nothing.
    #[arg(long)]
    list: bool,
}

fn known(name: &str) -> Result<String, String> {
    if attack::all().any(|attack| attack.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = attack::all().map(|attack| attack.name).collect();
    Err(format!("there is no such attack; there are {}", names.join(", ")))
}

/// The tool would do real harm, and attackers of several addresses can only be played on loopback.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write <address>:<port>, such as 127.0.0.1:7400".to_owned())?;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_loopback() => Ok(address),
        _ => Err("only addresses of 127.0.0.0/8 are attacked: elsewhere it would harm others, and could not come from several addresses".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        report::list();
        return ExitCode::SUCCESS;
    }
    let plan = run::Plan {
        seconds: Duration::from_secs(arguments.seconds),
        attacks: attack::all().filter(|attack| is_meant(&arguments.only, attack.name)).collect(),
        target: arguments.target.map(|gateway| (gateway, arguments.pid)),
    };
    // What was started is stopped with the run, however that ends.
    let outcome = tokio::select! { biased;
        stopped = told_to_stop() => stopped.and_then(|()| anyhow::bail!("stopped before its end")),
        outcome = run::run(plan) => outcome,
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "abuse: {error:#}");
    ExitCode::FAILURE
}

fn is_meant(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { biased;
        interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_attacked_but_this_machine() {
        assert!(loopback("127.0.0.1:7400").is_ok());
        for elsewhere in ["192.0.2.1:7400", "0.0.0.0:7400", "[::1]:7400", "shop.example:7400", "127.0.0.1"] {
            assert!(loopback(elsewhere).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let mut names: Vec<_> = attack::all().map(|attack| attack.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(known("rapid-reset").is_ok() && known("rapid").is_err());
    }
}
