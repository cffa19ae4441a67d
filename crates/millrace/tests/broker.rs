//! The broker of `millrace up`: it ends with its parent however that ends, comes back when it dies alone, and guards its store.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use millrace::broker::{Broker, Config};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{eventually, folder};

const MILLRACE: &str = env!("CARGO_BIN_EXE_millrace");

/// `millrace broker` as its own process, killed when the value goes.
struct Parent {
    process: Child,
    output: BufReader<ChildStdout>,
    address: String,
    server: i32,
}

impl Parent {
    fn start(store: &Path) -> Self {
        let mut process = command(store).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let (url, pid) = line.trim().split_once(' ').unwrap();
        let address = url.strip_prefix("nats://").unwrap().to_owned();
        Self { process, output, address, server: pid.parse().unwrap() }
    }

    fn signal(&self, signal: Signal) {
        send(i32::try_from(self.process.id()).unwrap(), signal);
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(store: &Path) -> Command {
    let mut command = Command::new(MILLRACE);
    // From the workspace's root a fetched nats-server is found, too.
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).arg("broker").arg("--store").arg(store);
    command
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Who serves there: the id that each run of nats-server draws.
fn server_at(address: &str) -> Option<String> {
    let mut line = String::new();
    BufReader::new(TcpStream::connect(address).ok()?).read_line(&mut line).ok()?;
    let (_, rest) = line.split_once(r#""server_id":""#)?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// The parent's only child.
fn supervisor_of(parent: &Child) -> i32 {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.id().to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "one sentence: {text}");
    text
}

#[tokio::test]
async fn the_broker_dies_when_its_parent_is_killed() {
    let store = folder();
    let parent = Parent::start(store.path());
    assert!(server_at(&parent.address).is_some());

    parent.signal(Signal::KILL);

    eventually("nobody listens any more", async || TcpStream::connect(&parent.address).is_err()).await;
    // The store is free only once no server has it open.
    Parent::start(store.path());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_broker_dies_when_its_parent_and_its_supervisor_are_killed_together() {
    let store = folder();
    let parent = Parent::start(store.path());
    let supervisor = supervisor_of(&parent.process);

    parent.signal(Signal::STOP);
    send(supervisor, Signal::KILL);
    parent.signal(Signal::KILL);

    eventually("nobody listens any more", async || TcpStream::connect(&parent.address).is_err()).await;
    Parent::start(store.path());
}

#[tokio::test]
async fn the_broker_stops_when_its_parent_is_interrupted() {
    let mut parent = Parent::start(folder().path());
    parent.signal(Signal::INT);
    let mut rest = String::new();
    parent.output.read_to_string(&mut rest).unwrap();
    assert!(parent.process.wait().unwrap().success());
    assert!(TcpStream::connect(&parent.address).is_err());
}

#[tokio::test]
async fn a_broker_that_dies_alone_comes_back_on_its_port() {
    let store = folder();
    let parent = Parent::start(store.path());
    let before = server_at(&parent.address).unwrap();
    send(parent.server, Signal::KILL);
    eventually("another server serves on the port", async || {
        server_at(&parent.address).is_some_and(|now| now != before)
    })
    .await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_server_along_and_both_come_back() {
    let store = folder();
    let parent = Parent::start(store.path());
    let before = server_at(&parent.address).unwrap();
    send(supervisor_of(&parent.process), Signal::KILL);
    eventually("another server serves on the port", async || {
        server_at(&parent.address).is_some_and(|now| now != before)
    })
    .await;
}

#[tokio::test]
async fn a_second_broker_on_the_same_store_is_refused() {
    let store = folder();
    let first = Parent::start(store.path());
    let second = command(store.path()).output().unwrap();
    let expected = format!("is in use by process {}\n", first.process.id());
    assert!(refusal(&second).ends_with(&expected), "{second:?}");
    assert!(server_at(&first.address).is_some());
}

#[tokio::test]
async fn a_taken_port_is_refused() {
    let (one, other) = (folder(), folder());
    let first = Parent::start(one.path());
    let port = first.address.rsplit(':').next().unwrap();
    let second = command(other.path()).args(["--port", port]).output().unwrap();
    assert!(refusal(&second).contains(&format!("port {port} on 127.0.0.1")), "{second:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_a_folder_is_refused() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(refusal(&command(&file).output().unwrap()).contains("cannot be used"));
}

#[tokio::test]
async fn a_broker_in_this_process_tells_its_new_server() {
    let store = folder();
    let mut config = Config::new(store.path());
    config.supervisor = Some(MILLRACE.into());
    config.binary = std::env::var_os("MILLRACE_NATS_SERVER").map(Into::into);
    let broker = Broker::start(config).await.unwrap();
    let before = broker.pid();

    send(i32::try_from(before).unwrap(), Signal::KILL);
    eventually("the broker knows another process", async || broker.pid() != before).await;

    let address = broker.url().replace("nats://", "");
    broker.stop().await;
    assert!(TcpStream::connect(address).is_err());
}
