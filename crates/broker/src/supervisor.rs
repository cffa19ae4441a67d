//! The process between Millrace and its nats-server.
//!
//! A process cannot clean up after its own kill -9, so another one does: it reads a pipe that only its parent holds open, and when that
//! ends it stops the server. Should the supervisor itself be killed, Linux kills the server with it, and its parent starts another one.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, Read as _, Write as _},
    os::unix::process::{CommandExt as _, parent_id},
    path::PathBuf,
    process::{self, Command, ExitCode},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Lock, Server, Settings};

/// The hidden subcommand of the binary whose `main` hands its further arguments to [`supervise`].
pub const SUBCOMMAND: &str = "supervise-broker";

/// How often it is looked whether the parent or the server has gone.
const TICK: Duration = Duration::from_millis(50);
/// The first pause before a server that died is started again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A server that ran for so long has recovered, and the next pause is the first again.
const RECOVERED: Duration = Duration::from_secs(30);

/// What the parent asks for: one line of JSON on standard input, which it then keeps open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) binary: PathBuf,
    pub(crate) settings: Settings,
}

/// What the parent is told: lines of JSON on standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// A server serves, for the first time or again.
    Serving { port: u16, pid: u32 },
    /// The server ended and will be started again.
    Ended { reason: String },
    /// There is nothing more to be done.
    GaveUp { reason: String },
}

/// The subcommand: supervises a server for the parent process until that closes our standard input. With arguments, it becomes the
/// server itself.
pub fn supervise(arguments: &[OsString]) -> ExitCode {
    if let [parent, program, arguments @ ..] = arguments {
        return become_server(parent, program, arguments);
    }
    match run() {
        Ok(()) | Err(Error::Stopped) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = report(&Report::GaveUp { reason: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let (order, parent) = listen()?;
    let command = server_command(&order)?;
    let mut wait = || matches!(parent.recv_timeout(TICK), Err(RecvTimeoutError::Timeout));
    let lock = Lock::take(&order.settings.store, parent_id(), &mut wait)?;
    let mut server = Server::start(&command, &order.settings, &lock, &mut wait)?;
    // Whoever knows the port must find the next server there.
    let settings = Settings { port: Some(server.port()), ..order.settings };
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        if report(&Report::Serving { port: server.port(), pid: server.pid() }).is_err()
            || !outlive(&mut server, &mut wait)
        {
            server.stop();
            return Ok(());
        }
        if began.elapsed() > RECOVERED {
            pause = FIRST_PAUSE;
        }
        let _ = report(&Report::Ended { reason: "nats-server ended by itself".to_owned() });
        server = loop {
            if !matches!(parent.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                return Ok(());
            }
            pause = LONGEST_PAUSE.min(pause * 2);
            match Server::start(&command, &settings, &lock, &mut wait) {
                Ok(server) => break server,
                Err(Error::Stopped) => return Ok(()),
                Err(error) => drop(report(&Report::Ended { reason: error.to_string() })),
            }
        };
    }
}

/// Waits until the server has ended (true) or the parent has gone (false).
fn outlive(server: &mut Server, wait: &mut dyn FnMut() -> bool) -> bool {
    loop {
        if server.ended() {
            return true;
        }
        if !wait() {
            return false;
        }
    }
}

/// Reads the order, and gives a channel that breaks when the parent's end of the pipe is closed.
fn listen() -> Result<(Order, Receiver<()>), Error> {
    let mut input = io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line).map_err(|_| Error::Stopped)?;
    drop(input);
    let order =
        serde_json::from_str(&line).map_err(|_| Error::Reported(format!("{SUBCOMMAND} is started by Millrace")))?;
    let (alive, parent) = mpsc::channel();
    thread::spawn(move || {
        // Nothing more is said; whether it ends or fails, the parent has gone.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        drop(alive);
    });
    Ok((order, parent))
}

fn report(report: &Report) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(report)?)?;
    output.flush()
}

/// The server as a process that first ties its life to ours, where the system can do that.
fn server_command(order: &Order) -> Result<Vec<OsString>, Error> {
    if !cfg!(target_os = "linux") {
        return Ok(vec![order.binary.clone().into()]);
    }
    let here = std::env::current_exe()
        .map_err(|error| Error::Supervisor { path: PathBuf::from(SUBCOMMAND), reason: error.to_string() })?;
    Ok(vec![here.into(), SUBCOMMAND.into(), process::id().to_string().into(), order.binary.clone().into()])
}

/// Has the system kill this process when `parent` ends, and then becomes the server: the wish outlives `exec`.
fn become_server(parent: &OsString, program: &OsString, arguments: &[OsString]) -> ExitCode {
    #[cfg(target_os = "linux")]
    if rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    // The parent may have ended before the wish was heard.
    if parent_id().to_string().as_str() != parent {
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    let _ = writeln!(io::stderr(), "[FTL] {}: {error}", program.display());
    ExitCode::FAILURE
}
