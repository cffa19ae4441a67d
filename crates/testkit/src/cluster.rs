use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use broker::free_port;

use crate::{NatsServer, within};

/// Three nodes choose a leader by majority, so one may be missing.
const NODES: usize = 3;

/// For a node to have what it missed; for a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A nats-server of three nodes with JetStream, each with a store of its own. They are killed, and their stores deleted, when the value goes.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    server: NatsServer,
    monitor: u16,
}

impl NatsCluster {
    /// Starts it, and waits until all nodes are there.
    pub async fn start() -> Self {
        let port = || free_port().expect("a port is free");
        let routes: Vec<u16> = (0..NODES).map(|_| port()).collect();
        let all: Vec<_> = routes.iter().map(|route| format!("nats://127.0.0.1:{route}")).collect();
        let node = |route: u16, monitor: u16| {
            let route = format!("nats://127.0.0.1:{route}");
            let (routes, monitor) = (all.join(","), monitor.to_string());
            // Clients know all nodes by the URL; whoever puts a proxy before each does not want them to hear of the nodes themselves.
            let cluster = ["--cluster_name", "test", "--cluster", &route, "--routes", &routes, "--no_advertise"];
            let arguments = [&cluster[..], &["-m", &monitor]].concat();
            NatsServer::start_with(arguments.into_iter().map(Into::into).collect())
        };
        let mut nodes = Vec::new();
        for route in routes {
            let monitor = port();
            nodes.push(Node { server: node(route, monitor).await, monitor });
        }
        let this = Self { nodes };
        for number in 0..NODES {
            this.caught_up(number).await;
        }
        this
    }

    /// What a NATS client connects to: all nodes.
    pub fn url(&self) -> String {
        self.nodes.iter().map(|node| node.server.url()).collect::<Vec<_>>().join(",")
    }

    /// The same, node by node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server.url()).collect()
    }

    /// The numbers of its nodes.
    pub fn nodes(&self) -> Range<usize> {
        0..self.nodes.len()
    }

    /// Kills a node, as a crash does.
    pub fn kill(&self, node: usize) {
        self.nodes[node].server.kill();
    }

    /// Starts a node again on its store, and waits until it has what it missed: only then may another one be missing.
    pub async fn restart(&self, node: usize) {
        self.nodes[node].server.restart().await;
        self.caught_up(node).await;
    }

    /// Kills all nodes, as the loss of a data centre's power does, but for what their machines had in memory.
    pub fn kill_all(&self) {
        self.nodes.iter().for_each(|node| node.server.kill());
    }

    /// Starts all nodes again on their stores. None serves before it has a majority, so they are waited for together.
    pub async fn restart_all(&self) {
        for node in &self.nodes {
            node.server.restart().await;
        }
        for number in self.nodes() {
            self.caught_up(number).await;
        }
    }

    /// Kills all nodes, and deletes what they keep. [`NatsCluster::restart_all`] brings them back empty.
    pub fn wipe(&self) {
        self.kill_all();
        self.nodes.iter().for_each(|node| node.server.wipe());
    }

    /// Kills all nodes, and copies what they keep to a folder. [`NatsCluster::restart_all`] brings them back.
    pub fn save(&self, copy: &Path) {
        self.kill_all();
        for (number, node) in self.nodes.iter().enumerate() {
            node.server.save(&copy.join(number.to_string()));
        }
    }

    /// Kills all nodes, and gives them what they kept when it was [saved](NatsCluster::save).
    pub fn replace(&self, copy: &Path) {
        self.kill_all();
        for (number, node) in self.nodes.iter().enumerate() {
            node.server.replace(&copy.join(number.to_string()));
        }
    }

    /// The process of a node, while it runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].server.pid()
    }

    /// Whether there are streams, and each is kept by all nodes.
    pub fn keeps_all_thrice(&self) -> bool {
        let report = get(self.nodes[0].monitor, "/jsz?streams=true&config=true").unwrap_or_default();
        let streams = report.matches("\"num_replicas\":").count();
        streams > 0 && streams == report.matches(&format!("\"num_replicas\": {NODES}")).count()
    }

    async fn caught_up(&self, node: usize) {
        let monitor = self.nodes[node].monitor;
        within(PATIENCE, "the node has what its group has", async || {
            // It says so once its streams and consumers are as new as their leaders'.
            get(monitor, "/healthz").is_ok_and(|answer| answer.split_whitespace().nth(1) == Some("200"))
        })
        .await;
    }
}

/// What a node answers. Short, and on loopback, so that it may block.
fn get(monitor: u16, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, monitor))?;
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
