//! Serving one service until told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{Access, Delivery as Travel, Kind, Method, Micros, Schema};
use identity::{OwnerKeys, PairKey, Sealer, Verifier};
use ledger::{Chance, Clock, CommandResult, Delivery, Ledger, OpenError, Outcome, Retry};
use messaging::{Broker, CommandLoop, Committed, ConnectError, Lanes, Relay, Streams, SubscriptionLoop};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::audit::Auditor;
use crate::consistency::Consistency;
use crate::effects::Worker;
use crate::heal::Healer;
use crate::intake::Judge;
use crate::opened::Opened;
use crate::owner::{Calls, Owner};
use crate::owners::{Owners, Server};
use crate::redriven::Redriven;
use crate::sample::sample;
use crate::service::Service;
use crate::timers::Timers;
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

/// How long a start waits for the broker to say where its stream ends. Without an answer the service serves, and asks later.
const BEFORE_START: Duration = Duration::from_secs(1);

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
    let ledger = opened.ledger.clone();
    let (committed, to_relay, to_worker) = Committed::new();
    let lane_tasks = TaskTracker::new();
    let lanes = Lanes::start(&ledger, &committed, &lane_tasks);
    for delivery in opened.at_start(ledger.about_now()) {
        at_start(name, delivery, &lanes).await?;
    }

    let client = messaging::connect(&config.broker, name).await?;
    let streams = Streams::new(client.clone(), &config.broker);
    let relay = Relay { domain: name.to_owned(), streams: streams.clone(), ledger: ledger.clone() };
    // Before anything is appended: a broker that is there may know more than a log that was restored.
    let meeting = async {
        messaging::reached(&client, &config.broker.url, BEFORE_START).await.is_ok() && relay.meet_stream().await
    };
    let _ = tokio::time::timeout(BEFORE_START, meeting).await;
    let relay_stop = CancellationToken::new();
    let relaying = tokio::spawn(relay.run(to_relay, relay_stop.clone()));

    let tasks = TaskTracker::new();
    tasks.spawn(warn_if_unreached(client, config.broker.url.clone(), stop.clone()));
    let owners = owners(&ledger, name, &config)?;
    let judge = Judge {
        consistency: Consistency::new(Arc::clone(&opened), owners.clone()),
        opened,
        verifier: Arc::new(Verifier::new(config.keys.clone())),
    };
    start_loops(&judge, &streams, &lanes, (&stop, &tasks));
    start_healing(&config, &judge, owners.clone(), (&streams, &lanes), (&stop, &tasks));
    let worker = Worker { ledger: ledger.clone(), lanes: lanes.clone(), committed };
    tasks.spawn(worker.run(to_worker, stop.clone(), tasks.clone()));
    if crate::metrics::are_installed() {
        tasks.spawn(sample(ledger.clone(), stop.clone()));
    }

    let owner = Owner { judge, lanes, bell: bell(name, streams), owners, stop: stop.clone() };
    // Whoever started us may not care.
    let _ = ready.send(());
    serve_calls(owner, &config, incoming, &stop).await?;
    fault::reach(fault::Point::Draining).await;

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
    ledger.close().await.map_err(|source| RunError::Ledger { service: name, source })
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

/// Whether anything ever comes through the queue of this domain.
fn has_durable_commands(schema: &Schema, domain: &str) -> bool {
    let durable = |method: &Method| {
        method.kind == Kind::Command && method.access != Access::Internal && method.delivery == Travel::Durable
    };
    schema.methods().any(|method| method.domain == domain && durable(method))
}

/// What the broker brings: from the queue, and from the streams.
fn start_loops(judge: &Judge, streams: &Streams, lanes: &Lanes, (stop, tasks): (&CancellationToken, &TaskTracker)) {
    let opened = &judge.opened;
    if has_durable_commands(&opened.schema, opened.name) {
        let judge = judge.clone();
        let commands = CommandLoop {
            domain: opened.name.to_owned(),
            streams: streams.clone(),
            lanes: lanes.clone(),
            intake: Arc::new(move |incoming| {
                let judge = judge.clone();
                Box::pin(async move { judge.queued(incoming).await })
            }),
        };
        tasks.spawn(commands.run(stop.clone(), tasks.clone()));
    }
    for subscription in opened.ledger.handlers().subscriptions() {
        let mut by_domain: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for followed in subscription.follows() {
            by_domain.entry(followed.domain).or_default().push(followed.aggregate);
        }
        for (domain, aggregates) in by_domain {
            let pump = SubscriptionLoop {
                name: subscription.name,
                service: opened.name.to_owned(),
                domain,
                aggregates,
                streams: streams.clone(),
                lanes: lanes.clone(),
                ledger: opened.ledger.clone(),
            };
            tasks.spawn(pump.run(stop.clone(), tasks.clone()));
        }
    }
}

/// What brings itself: keys that wait, timers, and commands that an operator has driven again.
fn start_healing(
    config: &Config,
    judge: &Judge,
    owners: Owners,
    (streams, lanes): (&Streams, &Lanes),
    (stop, tasks): (&CancellationToken, &TaskTracker),
) {
    let opened = &judge.opened;
    let audit = Arc::new(Notify::new());
    let (tell_audited, audited_until) = watch::channel(Micros(0));
    let (tell, read_until) = watch::channel(Micros(0));
    let healer = Healer {
        service: opened.name,
        namespace: config.broker.namespace.clone(),
        ledger: opened.ledger.clone(),
        lanes: lanes.clone(),
        owners: owners.clone(),
        schema: Arc::clone(&opened.schema),
        audited_until,
        read_until: tell,
    };
    tasks.spawn(healer.run(stop.clone()));
    let auditor = Auditor {
        ledger: opened.ledger.clone(),
        owners,
        streams: streams.clone(),
        wanted: Arc::clone(&audit),
        audited_until: tell_audited,
    };
    tasks.spawn(auditor.run(stop.clone()));
    let redriven = Redriven { judge: judge.clone(), lanes: lanes.clone() };
    tasks.spawn(redriven.run(stop.clone()));
    if opened.ledger.handlers().has_timers() {
        let timers = Timers { ledger: opened.ledger.clone(), lanes: lanes.clone(), read_until, audit };
        tasks.spawn(timers.run(stop.clone()));
    }
}

fn owners(ledger: &Ledger, name: &str, config: &Config) -> Result<Owners, transport::Error> {
    let server = |address: &String| {
        let channel = transport::channel(address, config.tls.as_ref())?;
        Ok(Server { address: address.clone(), channel })
    };
    let called = config.endpoints.iter().filter(|(domain, _)| config.pair_keys.contains_key(*domain));
    let servers: Result<_, transport::Error> =
        called.map(|(domain, address)| Ok((domain.clone(), server(address)?))).collect();
    Ok(Owners::new(servers?, Sealer::new(name, config.pair_keys.clone()), ledger.clone()))
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

async fn at_start(service: &'static str, delivery: Delivery, lanes: &Lanes) -> Result<(), RunError> {
    match lanes.submit(delivery).await {
        Outcome::Ended(ended) if matches!(ended.result, CommandResult::Completed(_)) => Ok(()),
        outcome => Err(RunError::AtStart { service, outcome: format!("{outcome:?}") }),
    }
}
