//! Processes under load, and what the kernel says that they cost.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to stop of its own accord.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A child process. It is told to stop, and killed if it does not, when the value goes.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// What processes have cost so far, or hold now: ours, and their nats-server's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Split {
    pub(crate) ours: f64,
    pub(crate) nats: f64,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run {what}"))?;
        Ok(Self(child))
    }

    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "process {} has ended: {}", self.0.id(), ended.unwrap_or_default());
        Ok(())
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// This process and all below it, each with its name.
    fn family(&self) -> Result<Vec<(u32, String)>> {
        let mut parents = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // It may have ended since it was listed.
            let Ok(stat) = Stat::read(pid) else { continue };
            parents.insert(pid, stat);
        }
        let mut family = vec![self.0.id()];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            family.extend(parents.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(family.into_iter().filter_map(|pid| Some((pid, parents.get(&pid)?.name.clone()))).collect())
    }

    fn split(&self, measure: impl Fn(u32) -> Result<f64>) -> Result<Split> {
        let mut split = Split::default();
        for (pid, name) in self.family()? {
            *(if name == "nats-server" { &mut split.nats } else { &mut split.ours }) += measure(pid)?;
        }
        Ok(split)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each fails only if it has ended.
        let _ = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::TERM));
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU milliseconds that these processes have used, in user and system mode.
pub(crate) fn cpu_ms(processes: &[Process]) -> Result<Split> {
    sum(processes, |pid| Ok(Stat::read(pid)?.cpu_ms))
}

/// Resident memory in MB: what they hold now.
pub(crate) fn rss_mb(processes: &[Process]) -> Result<Split> {
    sum(processes, |pid| status_mb(pid, "VmRSS:"))
}

/// Resident memory in MB: the most that each has ever held.
pub(crate) fn peak_mb(processes: &[Process]) -> Result<Split> {
    sum(processes, |pid| status_mb(pid, "VmHWM:"))
}

fn sum(processes: &[Process], measure: impl Fn(u32) -> Result<f64>) -> Result<Split> {
    processes.iter().try_fold(Split::default(), |sum, process| Ok(sum + process.split(&measure)?))
}

impl std::ops::Add for Split {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { ours: self.ours + other.ours, nats: self.nats + other.nats }
    }
}

impl std::ops::Sub for Split {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { ours: self.ours - other.ours, nats: self.nats - other.nats }
    }
}

/// What `/proc/<pid>/stat` says.
struct Stat {
    name: String,
    parent: u32,
    cpu_ms: f64,
}

impl Stat {
    fn read(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name is in parentheses and may hold anything; what follows it has no spaces.
        let (head, tail) = text.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<_> = tail.split_whitespace().collect();
        let number = |index: usize| -> Result<f64> { Ok(fields.get(index).context("stat is short")?.parse()?) };
        #[expect(clippy::cast_precision_loss, reason = "it is 100")]
        let per_tick = 1000.0 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self {
            name: head.split_once('(').context("no name in stat")?.1.to_owned(),
            parent: fields.get(1).context("stat is short")?.parse()?,
            cpu_ms: (number(11)? + number(12)?) * per_tick,
        })
    }
}

fn status_mb(pid: u32, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
