use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use ledger::Chance;
use tokio::time::Instant;

use crate::Backoff;

/// Where the broker is.
#[derive(Clone, Debug)]
pub struct Broker {
    /// `nats://host:port`, or several, separated by commas.
    pub url: String,
    /// Where all subjects and streams begin.
    pub namespace: String,
    /// How many nodes keep each stream: 1, 3 or 5.
    pub replicas: usize,
}

/// Why a broker cannot be used. Each is one sentence that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{0}` is not the address of a NATS server; use nats://<host>:<port>")]
    Address(String),
    #[error("no NATS server answers at {0}; start one, or leave the address out to have one started")]
    Unreachable(String),
    #[error("the NATS server at {url} has version {found}, but 2.11 or newer with JetStream is needed")]
    TooOld { url: String, found: String },
}

/// The oldest server whose JetStream does what we need (major, minor).
const MINIMUM: (u32, u32) = (2, 11);
/// A request that the server does not answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The server is asked as often whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Connects, or begins to: while no server answers, this goes on trying for ever. [`reached`] tells whether one did.
pub async fn connect(broker: &Broker, role: &str) -> Result<Client, ConnectError> {
    let name = format!("millrace/{role}");
    let options = ConnectOptions::new()
        .name(&name)
        .retry_on_initial_connect()
        .reconnect_delay_callback(delays())
        .ping_interval(PING_INTERVAL)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .custom_inbox_prefix(format!("_INBOX.{role}"))
        .event_callback(move |event| {
            let name = name.clone();
            async move { note(&name, &event) }
        });
    let addresses: Result<Vec<_>, _> =
        broker.url.split(',').map(|url| url.trim().parse::<async_nats::ServerAddr>()).collect();
    let addresses = addresses.map_err(|_| ConnectError::Address(broker.url.clone()))?;
    options.connect(addresses).await.map_err(|_| ConnectError::Unreachable(broker.url.clone()))
}

/// Waits until a server has answered, and says so if it is too old or none does within `limit`.
pub async fn reached(client: &Client, url: &str, limit: Duration) -> Result<(), ConnectError> {
    let connected = async {
        while client.connection_state() != State::Connected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, connected).await.map_err(|_| ConnectError::Unreachable(url.to_owned()))?;
    let info = client.server_info();
    let mut numbers = info.version.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < MINIMUM || !info.jetstream {
        return Err(ConnectError::TooOld { url: url.to_owned(), found: info.version });
    }
    Ok(())
}

/// How long to wait before each attempt. The client's own count of attempts is not asked: it begins again with every broker that greets, also
/// with one that hangs up at once. And the chance must be a real one: in containers all processes have the same number.
fn delays() -> impl Fn(usize) -> Duration + Send + Sync + 'static {
    let (backoff, chance) = (Mutex::new(Backoff::default()), Chance::new());
    move |_| backoff.lock().unwrap_or_else(PoisonError::into_inner).wait(Instant::now(), chance.fraction())
}

fn note(name: &str, event: &Event) {
    match event {
        Event::Connected => tracing::info!(name, "connected to the broker"),
        Event::Disconnected => tracing::warn!(name, "lost the broker"),
        // A subscription or publication that is not permitted shows up nowhere else.
        Event::ServerError(error) => tracing::error!(name, %error, "the broker refuses"),
        Event::SlowConsumer(_) => tracing::warn!(name, "slower than the broker sends"),
        other => tracing::debug!(name, %other, "the broker's connection"),
    }
}
