//! Many clients that lose one broker.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_messaging::{Broker, Client, connect};
use testkit::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const CLIENTS: usize = 20;
/// After its first attempt a client waits for 50 ms, 100 ms and so on up to 2 s, or half of that at least: so it makes its eighth attempt after
/// 2.6 s at the earliest.
const ATTEMPTS: usize = 7;
const EARLIEST: Duration = Duration::from_millis(2500);

/// A broker that hangs up on everybody; at which moments it was connected to.
struct Broken {
    url: String,
    connects: Arc<Mutex<Vec<Instant>>>,
}

impl Broken {
    /// `greets`: it first answers as a broker does, so that its clients think that they are connected.
    async fn start(greets: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let connects = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&connects);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.lock().unwrap().push(Instant::now());
                if greets {
                    tokio::spawn(greet(connection));
                }
            }
        });
        Self { url, connects }
    }

    async fn clients(&self) -> Vec<Client> {
        let broker = Broker { url: self.url.clone(), namespace: "ns".to_owned(), replicas: 1 };
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(connect(&broker, "test").await.unwrap());
        }
        clients
    }

    /// The connects, once there were so many, and how long each was after the first.
    async fn after(&self, connects: usize) -> Vec<Duration> {
        eventually("the clients try again", async || self.connects.lock().unwrap().len() >= connects).await;
        let connects = self.connects.lock().unwrap();
        connects.iter().map(|connect| connect.duration_since(connects[0])).collect()
    }
}

async fn greet(connection: TcpStream) {
    const INFO: &str =
        r#"INFO {"server_id":"x","server_name":"x","version":"2.12.0","max_payload":1048576,"proto":1,"headers":true}"#;
    let (reading, mut writing) = connection.into_split();
    writing.write_all(format!("{INFO}\r\n").as_bytes()).await.unwrap();
    let mut lines = BufReader::new(reading).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "PING" {
            let _ = writing.write_all(b"PONG\r\n").await;
            return;
        }
    }
}

/// Counts what `CLIENTS` clients do during an outage.
async fn outage(greets: bool) {
    let broken = Broken::start(greets).await;
    let _clients = broken.clients().await;
    let connects = broken.after(CLIENTS * (ATTEMPTS + 1)).await;

    let early = connects.iter().filter(|after| **after < EARLIEST).count();
    assert!(early <= CLIENTS * ATTEMPTS, "{early} connects within {EARLIEST:?}");

    let late: Vec<_> = connects.iter().filter(|after| **after > EARLIEST / 2).collect();
    let window = Duration::from_millis(50);
    let most = late.iter().map(|from| late.iter().filter(|at| **at >= *from && ***at < **from + window).count()).max();
    assert!(most < Some(CLIENTS / 2), "{most:?} of {CLIENTS} clients came within {window:?}");
}

#[tokio::test]
async fn clients_of_a_broker_that_hangs_up_come_seldom_and_not_in_step() {
    outage(false).await;
}

#[tokio::test]
async fn clients_of_a_broker_that_greets_and_hangs_up_come_seldom_and_not_in_step() {
    outage(true).await;
}
