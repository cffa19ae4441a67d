//! All attacks, as a table: what each does, and what must hold beside what always must (the gateway stays up, within its memory, and serves
//! others).

mod calls;
mod connections;
mod frames;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::net::TcpStream;

use crate::http2::{Intruder, connect};

/// Before a refused attacker tries again: it is the gateway that is to be busy, not the machine.
const PAUSE: Duration = Duration::from_millis(10);

/// One way to do harm.
#[derive(Clone, Copy)]
pub struct Attack {
    pub name: &'static str,
    pub does: &'static str,
    pub holds: &'static str,
    /// Who attack at once, each from an address of its own.
    pub attackers: u8,
    /// What it may cost the gateway in memory, in MiB, while it lasts.
    pub memory: u64,
    /// What each attacker does again and again until the time is up. An error says what did not hold.
    pub round: for<'a> fn(&'a Attacker) -> BoxFuture<'a, Result<()>>,
}

/// One of those who attack.
#[derive(Clone, Debug)]
pub struct Attacker {
    pub gateway: SocketAddr,
    pub from: Ipv4Addr,
    /// An account that anybody could open, and something to watch with it.
    pub account: Account,
    pub tally: Arc<Tally>,
}

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Account {
    pub address: String,
    pub access_token: String,
    pub order_id: String,
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
}

impl Tally {
    pub(crate) fn add_requests(&self, more: usize) {
        self.requests.fetch_add(more, Ordering::Relaxed);
    }
}

impl Attacker {
    /// None, after a pause, if the gateway takes no more of this address.
    pub(crate) async fn connect(&self) -> Option<TcpStream> {
        let connected = connect(self.gateway, self.from).await.ok();
        self.note(connected).await
    }

    pub(crate) async fn intrude(&self) -> Option<Intruder> {
        let greeted = Intruder::greet(self.gateway, self.from).await.ok();
        self.note(greeted).await
    }

    async fn note<T>(&self, connected: Option<T>) -> Option<T> {
        match &connected {
            Some(_) => _ = self.tally.connections.fetch_add(1, Ordering::Relaxed),
            None => tokio::time::sleep(PAUSE).await,
        }
        connected
    }
}

/// All attacks, the loudest last.
pub fn all() -> impl Iterator<Item = Attack> {
    [frames::ATTACKS, connections::ATTACKS, calls::ATTACKS].into_iter().flatten().copied()
}
