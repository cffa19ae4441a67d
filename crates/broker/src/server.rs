use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{self, Child},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Lock,
    launch::{LOG, free_port, last_words, serves, spawn},
};

/// How long a server may take to read its store and serve.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a server may take to stop of its own accord.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether something has come about.
const TICK: Duration = Duration::from_millis(20);

/// How a server is to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The folder for its streams, configuration and log. One server at a time.
    pub store: PathBuf,
    /// Where it listens on 127.0.0.1; `None` takes a free port.
    pub port: Option<u16>,
    /// The largest message, in bytes.
    pub max_payload: u32,
    /// How often what was acknowledged is forced to the disk, such as `always` or `30s`; `None` leaves it to the server.
    pub sync_interval: Option<String>,
}

/// A running nats-server with JetStream on 127.0.0.1. It is killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
}

/// Waits a moment and says to go on: for callers that have nothing else to watch.
pub fn tick() -> bool {
    thread::sleep(TICK);
    true
}

impl Server {
    /// Starts `command`, an executable and its first arguments, on the store that `lock` guards, and waits until it serves, 60 s at most.
    /// Blocks; `wait` is called between looks, takes a moment, and says whether to go on.
    pub fn start(
        command: &[OsString],
        settings: &Settings,
        lock: &Lock,
        wait: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Error> {
        if let Some(port) = settings.port {
            return Self::start_at(port, command, settings, lock, wait);
        }
        // Somebody else may take a port between our look and the server's.
        for _ in 0..5 {
            match Self::start_at(free_port()?, command, settings, lock, wait) {
                Err(Error::PortTaken(_)) => {}
                done => return done,
            }
        }
        Err(Error::NoPort)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it finish, and kills it if that takes over 10 s. Blocks.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // An error means that it has ended already; it was not waited for, so the number is still its own.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let began = Instant::now();
        while !self.ended() && began.elapsed() < STOP_LIMIT {
            tick();
        }
    }

    /// Ends it at once, as a crash would. Blocks until it is gone.
    pub fn kill(self) {
        drop(self);
    }

    fn start_at(
        port: u16,
        command: &[OsString],
        settings: &Settings,
        lock: &Lock,
        wait: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Error> {
        let name = format!("millrace-{}-{port}", process::id());
        let log = settings.store.join(LOG);
        let unusable = |source: io::Error| Error::Store { store: settings.store.clone(), source };
        let child = spawn(&name, port, command, settings, lock, &log).map_err(unusable)?;
        let mut server = Self { child, port };
        let began = Instant::now();
        while !serves(port, &name) {
            if let Ok(Some(status)) = server.child.try_wait() {
                let last_words = last_words(&log);
                let taken = last_words.contains("address already in use");
                return Err(if taken { Error::PortTaken(port) } else { Error::Ended { status, last_words } });
            }
            if began.elapsed() > START_LIMIT {
                return Err(Error::Slow(START_LIMIT));
            }
            if !wait() {
                return Err(Error::Stopped);
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
