//! Serving one service until told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::{OwnerKeys, PairKey, Sealer};
use ledger::{Chance, Clock, Ledger, OpenError, Retry};
use messaging::{Broker, ConnectError, Streams, Tasks};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::node::{BEFORE_START, Node, Wiring};
use crate::opened::Opened;
use crate::owner::Calls;
use crate::owners::{Owners, Server};
use crate::sample::sample;
use crate::service::Service;
use crate::transport::{self, Incoming, Limits, Tls};
use crate::watch::{Bell, Rings};

/// Where a service finds what it needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address of its database, `sqlite://<path>` or `postgres://…`.
    pub database: String,
    pub broker: Broker,
    /// The keys under which it accepts seals.
    pub keys: OwnerKeys,
    /// The keys with which it seals its calls to others, by domain.
    pub pair_keys: BTreeMap<String, PairKey>,
    /// Where the other services are, by domain.
    pub endpoints: BTreeMap<String, String>,
    pub tls: Option<Tls>,
    pub retry: Retry,
}

/// Why a service cannot be served. Each is one sentence that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{service} has no handler for {methods}")]
    Missing { service: &'static str, methods: String },
    #[error("{service}: {source}")]
    Database { service: &'static str, source: OpenError },
    #[error("{service} cannot start: {source}")]
    Ledger { service: &'static str, source: ledger::Error },
    #[error("{service} cannot start: the command that it gives itself came to {outcome}")]
    AtStart { service: &'static str, outcome: String },
    #[error(transparent)]
    Broker(#[from] ConnectError),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("the server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// How long what is under way may take when the service is told to stop. Whatever is left is delivered again, to another instance.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the broker may take to answer before that is worth a warning.
const REACH: Duration = Duration::from_secs(5);

/// How a service is told to stop, and tells that it serves.
#[derive(Debug)]
pub struct Signals {
    pub stop: CancellationToken,
    pub ready: oneshot::Sender<()>,
}

/// Serves until it is told to stop, then finishes what was begun. Nothing is lost if it is killed instead.
pub async fn run(service: Service, config: Config, incoming: TcpIncoming, signals: Signals) -> Result<(), RunError> {
    let Signals { stop, ready } = signals;
    let name = service.name;
    let missing = service.missing();
    if !missing.is_empty() {
        return Err(RunError::Missing { service: name, methods: missing.join(", ") });
    }
    let opened = Arc::new(open(service, &config).await?);
    let client = messaging::connect(&config.broker, name).await?;
    // Before anything is appended: a broker that is there may know more than a log that was restored.
    let _ = messaging::reached(&client, &config.broker.url, BEFORE_START).await;
    let (tasks, streams) = (Tasks::new(), Streams::new(client.clone(), &config.broker));
    tasks.spawn(warn_if_unreached(client, config.broker.url.clone(), stop.clone()));
    if crate::metrics::are_installed() {
        tasks.spawn(sample(opened.ledger.clone(), stop.clone()));
    }
    let wiring = Wiring {
        broker: config.broker.clone(),
        wire: Arc::new(streams.clone()),
        owners: owners(&opened.ledger, name, &config)?,
        keys: config.keys.clone(),
        bell: bell(name, streams.clone()),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let Node { calls, commands, subscriptions, running } = Node::start(opened, wiring).await?;
    if let Some(commands) = commands {
        tasks.spawn(commands.run(streams.clone(), stop.clone(), tasks.clone()));
    }
    for subscription in subscriptions {
        tasks.spawn(subscription.run(streams.clone(), stop.clone(), tasks.clone()));
    }
    // Whoever started us may not care.
    let _ = ready.send(());
    serve_calls(calls, &config, incoming, &stop).await?;
    if tokio::time::timeout(DRAIN, running.drained()).await.is_err() {
        tracing::warn!(service = name, "not everything was finished in time; it will be delivered again");
    }
    running.close().await
}

/// What rings for those who watch: the service's own events, from whichever instance.
fn bell(domain: &'static str, streams: Streams) -> Bell {
    Arc::new(move |key| {
        let (streams, key) = (streams.clone(), key.clone());
        Box::pin(async move { Box::pin(messaging::rings(&streams, domain, &key).await) as Rings })
    })
}

/// A service serves without a broker, too, so nobody would notice.
async fn warn_if_unreached(client: messaging::Client, url: String, stop: CancellationToken) {
    let reached = stop.run_until_cancelled(messaging::reached(&client, &url, REACH)).await;
    if let Some(Err(error)) = reached {
        tracing::warn!(%error, "the broker is not there; calls are taken directly, and events wait");
    }
}

async fn open(mut service: Service, config: &Config) -> Result<Opened, RunError> {
    let name = service.name;
    let database = service.database(&config.database).await;
    let database = database.map_err(|source| RunError::Database { service: name, source })?;
    let opened = service.open(database, Clock::Database, Chance::new(), config.retry).await;
    opened.map_err(|source| RunError::Ledger { service: name, source })
}

fn owners(ledger: &Ledger, name: &str, config: &Config) -> Result<Owners, transport::Error> {
    let server = |address: &String| {
        let channel = transport::channel(address, config.tls.as_ref())?;
        Ok(Server { address: address.clone(), callee: channel.into() })
    };
    let called = config.endpoints.iter().filter(|(domain, _)| config.pair_keys.contains_key(*domain));
    let servers: Result<_, transport::Error> =
        called.map(|(domain, address)| Ok((domain.clone(), server(address)?))).collect();
    Ok(Owners::new(servers?, Sealer::new(name, config.pair_keys.clone()), ledger.clone()))
}

/// Answers calls until told to stop, and then those that were begun.
async fn serve_calls(
    calls: Calls,
    config: &Config,
    incoming: TcpIncoming,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let mut routes = Routes::new(health_service);
    let calls =
        tower::ServiceExt::<http::Request<tonic::body::Body>>::map_request(calls, |request: http::Request<_>| {
            request.map(tonic::body::Body::new)
        });
    let router = std::mem::take(routes.axum_router_mut()).fallback_service(calls);
    let stopping = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        }
    };
    let mut server = transport::server(&Limits::INTERNAL, config.tls.as_ref())?;
    let serving = server
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(Incoming::new(incoming, Limits::INTERNAL.connections), stopping);
    // A peer that keeps its connection must not keep us: after the drain it is cut.
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN / 4).await;
    };
    tokio::select! { biased;
        result = serving => result?,
        () = overdue => {}
    }
    Ok(())
}
