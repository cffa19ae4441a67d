//! `millrace up` as a process of its own, and a receiver of its traces.

mod traces;

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{NatsServer, TempDir, eventually, eventually_some, folder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

pub(crate) use traces::{Span, Traces, tree};

/// A running shop. It ends with the value.
pub(crate) struct Up {
    process: Child,
    gateway: String,
    pub(crate) nats: NatsServer,
    pub(crate) traces: Traces,
    /// What it keeps is in `data`, and what it says in `out` and `log`.
    pub(crate) folder: TempDir,
}

impl Up {
    pub(crate) async fn start(log: &str) -> Self {
        let (nats, traces, folder) = (NatsServer::start().await, Traces::receive(), folder());
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .env_clear()
            .env("MILLRACE_NATS_URL", nats.url())
            .env("MILLRACE_LOG", log)
            .env("MILLRACE_LOG_FORMAT", "json")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", traces.address())
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .stdout(Stdio::from(file("out")))
            .stderr(Stdio::from(file("log")))
            .spawn()
            .unwrap();
        let mut this = Self { process, gateway: String::new(), nats, traces, folder };
        this.gateway = eventually_some("it says where it serves", async || {
            let out = this.said("out");
            Some(out[out.find("http://")?..].lines().next()?.to_owned())
        })
        .await;
        this
    }

    pub(crate) fn gateway(&self) -> Channel {
        Endpoint::from_shared(self.gateway.clone()).unwrap().connect_lazy()
    }

    /// What Prometheus would be told now.
    pub(crate) async fn metrics(&self) -> String {
        let out = self.said("out");
        let address =
            out.lines().find_map(|line| line.split_once("metrics are at http://")?.1.strip_suffix("/metrics"));
        let mut connection = TcpStream::connect(address.unwrap()).await.unwrap();
        connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: up\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        body.to_owned()
    }

    /// Tells it to stop, and waits until it has: then everything is written, and all traces are sent.
    pub(crate) async fn stop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        eventually("it stops", async || self.process.try_wait().unwrap().is_some()).await;
    }

    pub(crate) fn said(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.said("log");
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- log\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}
