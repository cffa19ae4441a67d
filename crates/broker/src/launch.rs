//! What surrounds a server's process: its configuration, its port, its greeting and its log.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::Path,
    process::{self, Child, Command},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use serde::Deserialize;

use crate::{Error, Lock, Settings};

/// Below the ephemeral ports of Linux and macOS: while the server restarts, an outgoing connection (even a client's own attempt to
/// reconnect) could be given an ephemeral one and keep the server from it.
const PORTS: Range<u16> = 20_000..32_000;
pub(crate) const LOG: &str = "nats-server.log";
/// The log is cut at this size; so many old ones are kept.
const LOG_BYTES_MAX: u32 = 8 << 20;
const OLD_LOGS_MAX: u8 = 2;

pub(crate) fn spawn(
    name: &str,
    port: u16,
    command: &[OsString],
    settings: &Settings,
    lock: &Lock,
    log: &Path,
) -> io::Result<Child> {
    let configuration = settings.store.join("nats-server.conf");
    // The server reads JSON as well as its own notation, and JSON comes with quoting.
    let store = settings.store.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
    let mut jetstream = serde_json::json!({ "store_dir": store });
    if let Some(interval) = &settings.sync_interval {
        jetstream["sync_interval"] = interval.as_str().into();
    }
    let text = serde_json::json!({
        "server_name": name,
        "listen": format!("127.0.0.1:{port}"),
        "max_payload": settings.max_payload,
        "log_file": format!("{store}/{LOG}"),
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": OLD_LOGS_MAX,
        "jetstream": jetstream,
    });
    fs::write(&configuration, text.to_string())?;
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).arg("-c").arg(configuration);
    command.stdin(lock.share()?).stdout(output.try_clone()?).stderr(output).spawn()
}

/// Whether the server called `name` greets on this port. Another's greeting does not count.
pub(crate) fn serves(port: u16, name: &str) -> bool {
    #[derive(Deserialize)]
    struct Info {
        server_name: String,
    }
    let greeting = || -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut line = String::new();
        BufReader::new(stream.take(64 << 10)).read_line(&mut line)?;
        Ok(line)
    };
    let Ok(line) = greeting() else { return false };
    let info = line.strip_prefix("INFO ").and_then(|json| serde_json::from_str::<Info>(json).ok());
    info.is_some_and(|info| info.server_name == name)
}

/// A port that nobody listens on now. Processes and calls begin at different places, so that they seldom meet.
pub fn free_port() -> Result<u16, Error> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let calls = u32::from(CALLS.fetch_add(1, Ordering::Relaxed));
    let width = u32::from(PORTS.end - PORTS.start);
    let first = process::id().wrapping_mul(97).wrapping_add(calls.wrapping_mul(7)) % width;
    (0..width)
        .filter_map(|step| u16::try_from(u32::from(PORTS.start) + (first + step) % width).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(Error::NoPort)
}

/// The last line of a log, from its level on.
pub(crate) fn last_words(log: &Path) -> String {
    let tail = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tail().unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.rfind("[FTL] ").or_else(|| line.rfind("[ERR] ")).map_or(line, |at| &line[at + 6..]).to_owned()
}
