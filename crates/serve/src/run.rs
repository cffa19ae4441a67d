//! Serving one service until told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{Access, Delivery as Travel, Method};
use identity::{OwnerKeys, PairKey, Sealer, Verifier};
use ledger::{
    Caller, Chance, Clock, Command, CommandResult, Database, Delivery, Input, Ledger, OpenError, Outcome, Parts, Retry,
    process_now,
};
use messaging::{Broker, CommandLoop, Committed, ConnectError, Lanes, Relay, Streams, SubscriptionLoop};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tracing::Span;

use crate::effects::Worker;
use crate::heal::Healer;
use crate::intake::Judge;
use crate::owner::{Calls, Owner};
use crate::owners::Owners;
use crate::service::Service;
use crate::transport::{self, Limits, Tls};

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
    #[error("{service} cannot start: its own command {method} came to {outcome}")]
    AtStart { service: &'static str, method: String, outcome: String },
    #[error(transparent)]
    Broker(#[from] ConnectError),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("the server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// How long what is under way may take when the service is told to stop. Whatever is left is delivered again, to another instance.
const DRAIN: Duration = Duration::from_secs(20);

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
    let parts = open(service, &config).await?;
    let (committed, to_relay) = Committed::new();
    let lane_tasks = TaskTracker::new();
    let lanes = Lanes::start(&parts.ledger, &committed, &lane_tasks);
    for (method, body) in &parts.at_start {
        at_start(name, method, body.clone(), &lanes).await?;
    }

    let client = messaging::connect(&config.broker, name).await?;
    let streams = Streams::new(client, &config.broker);
    let relay = Relay { domain: name.to_owned(), streams: streams.clone(), ledger: parts.ledger.clone() };
    let relay_stop = CancellationToken::new();
    let relaying = tokio::spawn(relay.run(to_relay, relay_stop.clone()));

    let tasks = TaskTracker::new();
    let judge = parts.judge(&config);
    start_loops(&parts, &config, &judge, &streams, &lanes, (&stop, &tasks))?;
    let worker = Worker { ledger: parts.ledger.clone(), lanes: lanes.clone(), committed: committed.clone() };
    tasks.spawn(worker.run(stop.clone(), tasks.clone()));

    let owner = Owner { judge, lanes, committed, queries: parts.queries, streams: parts.streams, stop: stop.clone() };
    // Whoever started us may not care.
    let _ = ready.send(());
    serve_calls(owner, &config, incoming, &stop).await?;

    tasks.close();
    let drained = tokio::time::timeout(DRAIN, async {
        tasks.wait().await;
        lane_tasks.close();
        lane_tasks.wait().await;
        relay_stop.cancel();
        // A relay that panicked has nothing left to say.
        let _ = relaying.await;
    });
    if drained.await.is_err() {
        tracing::warn!(service = name, "not everything was finished in time; it will be delivered again");
    }
    parts.ledger.close().await.map_err(|source| RunError::Ledger { service: name, source })
}

/// A service with its database open.
struct Open {
    name: &'static str,
    ledger: Ledger,
    schema: Arc<event::Schema>,
    queries: std::collections::HashMap<String, crate::service::QueryFn>,
    streams: std::collections::HashMap<String, crate::service::StreamFn>,
    at_start: Vec<(String, bytes::Bytes)>,
    has_sessions: bool,
}

async fn open(service: Service, config: &Config) -> Result<Open, RunError> {
    let Service { name, schema, tables, handlers, queries, streams, state, has_sessions, at_start } = service;
    let db = Database::open(&config.database, tables)
        .await
        .map_err(|source| RunError::Database { service: name, source })?;
    let parts = Parts {
        db,
        handlers,
        schema: Arc::clone(&schema),
        name: name.to_owned(),
        clock: Clock::Database,
        chance: Chance::new(),
        state,
        retry: config.retry,
    };
    let ledger = Ledger::open(parts).await.map_err(|source| RunError::Ledger { service: name, source })?;
    Ok(Open { name, ledger, schema, queries, streams, at_start, has_sessions })
}

impl Open {
    fn judge(&self, config: &Config) -> Judge {
        Judge {
            ledger: self.ledger.clone(),
            schema: Arc::clone(&self.schema),
            verifier: Arc::new(Verifier::new(config.keys.clone())),
            domain: self.name,
            has_sessions: self.has_sessions,
        }
    }

    /// Whether anything ever comes through its queue.
    fn has_durable_commands(&self) -> bool {
        let durable = |method: &Method| {
            method.kind == event::Kind::Command
                && method.access != Access::Internal
                && method.delivery == Travel::Durable
        };
        self.schema.methods().any(|method| method.domain == self.name && durable(method))
    }
}

/// What brings deliveries: the queue, the streams, and the logs of others.
fn start_loops(
    parts: &Open,
    config: &Config,
    judge: &Judge,
    streams: &Streams,
    lanes: &Lanes,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> Result<(), RunError> {
    if parts.has_durable_commands() {
        let judge = judge.clone();
        let commands = CommandLoop {
            domain: parts.name.to_owned(),
            streams: streams.clone(),
            lanes: lanes.clone(),
            intake: Arc::new(move |incoming| {
                let judge = judge.clone();
                Box::pin(async move { judge.queued(incoming).await })
            }),
        };
        tasks.spawn(commands.run(stop.clone(), tasks.clone()));
    }
    for subscription in parts.ledger.handlers().subscriptions() {
        let mut by_domain: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for followed in subscription.follows() {
            by_domain.entry(followed.domain).or_default().push(followed.aggregate);
        }
        for (domain, aggregates) in by_domain {
            let (streams, lanes, service) = (streams.clone(), lanes.clone(), parts.name.to_owned());
            let pump = SubscriptionLoop { name: subscription.name, service, domain, aggregates, streams, lanes };
            tasks.spawn(pump.run(stop.clone(), tasks.clone()));
        }
    }
    let healer = Healer {
        service: parts.name,
        namespace: config.broker.namespace.clone(),
        ledger: parts.ledger.clone(),
        lanes: lanes.clone(),
        owners: owners(parts.name, config)?,
        schema: Arc::clone(&parts.schema),
    };
    tasks.spawn(healer.run(stop.clone()));
    Ok(())
}

fn owners(name: &str, config: &Config) -> Result<Owners, transport::Error> {
    let channels: Result<BTreeMap<_, _>, _> = config
        .endpoints
        .iter()
        .filter(|(domain, _)| config.pair_keys.contains_key(*domain))
        .map(|(domain, endpoint)| Ok((domain.clone(), transport::channel(endpoint, config.tls.as_ref())?)))
        .collect();
    Ok(Owners::new(channels?, Sealer::new(name, config.pair_keys.clone())))
}

/// Answers calls until told to stop, and then those that were begun.
async fn serve_calls(
    owner: Owner,
    config: &Config,
    incoming: TcpIncoming,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let mut routes = Routes::new(health_service);
    let calls = tower::ServiceExt::<http::Request<tonic::body::Body>>::map_request(
        Calls(Arc::new(owner)),
        |request: http::Request<_>| request.map(tonic::body::Body::new),
    );
    let router = std::mem::take(routes.axum_router_mut()).fallback_service(calls);
    let stopping = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        }
    };
    let mut server = transport::server(&Limits::INTERNAL, config.tls.as_ref())?;
    let serving = server.add_routes(Routes::from(router)).serve_with_incoming_shutdown(incoming, stopping);
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

async fn at_start(service: &'static str, method: &str, body: bytes::Bytes, lanes: &Lanes) -> Result<(), RunError> {
    let now = process_now();
    let id = Chance::new().id(now);
    let command = Command {
        method: method.to_owned(),
        id,
        target: id,
        caller: Caller { name: format!("service/{service}"), ..Caller::default() },
        request_hash: identity::seal::request_hash(&body),
        body,
        not_after: now.plus(DRAIN),
        anonymous: true,
        refused: None,
        prepared: None,
    };
    match lanes.submit(Delivery { input: Input::Command(command), delivered: 0, span: Span::current() }).await {
        Outcome::Ended(ended) if matches!(ended.result, CommandResult::Completed(_)) => Ok(()),
        outcome => Err(RunError::AtStart { service, method: method.to_owned(), outcome: format!("{outcome:?}") }),
    }
}
