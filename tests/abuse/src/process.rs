use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to stop of its own accord.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A child process. It is told to stop, and killed if it does not, when the value goes.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        Ok(Self(command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run {what}"))?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it says first.
    pub(crate) fn first_line(&mut self) -> Result<String> {
        let output = self.0.stdout.take().context("its output is not piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "it ended before it served");
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each fails only if it has ended.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process holds, and has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) memory_kib: u64,
    pub(crate) files: usize,
    pub(crate) cpu: Duration,
}

impl Held {
    /// Fails if the process is no more.
    pub(crate) fn by(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("the gateway ({pid}) is gone"))
        };
        let status = read("status")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the gateway has ended")?;
        let stat = read("stat")?;
        // The name is in parentheses and may hold anything; what follows it has no spaces.
        let (_, tail) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks = tail.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Self {
            memory_kib: memory.trim().trim_end_matches("kB").trim().parse()?,
            files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            // Linux counts in hundredths of a second, whatever its own clock does.
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}

/// A word about a machine that has so much else to do that slow answers say little.
pub(crate) fn other_work() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: usize = text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0);
    if load < 4 * cores {
        return String::new();
    }
    format!("; but this machine has other work (a load of {load} on {cores} cores), so try again when it is quiet")
}
