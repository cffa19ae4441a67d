//! The edge. It reads the descriptor set when it starts, and needs no code per service: each call is limited, authenticated, validated and
//! sealed; a query goes to its owner, a command into its owner's queue, and to the owner directly while the broker is away.
//!
//! `limit by address → authenticate → limit by principal → validate → seal → (command) publish and await the outcome | (query) ask the owner`
//!
//! - [`run`], [`Config`], [`Deps`]: the gateway from outside.
//! - `door` and `edge`: that path. `command`, `query` and `outcomes` are its three ends; `locate` finds a command again, and
//!   `accepted` looks after those that were answered before they ended.
//! - `routes`: which methods there are. What is not there does not exist, with the same words for an INTERNAL method and an invented one.
//! - `authenticate`, `limit`, `validate`, `seals`, `ids`, `deadline`: the steps.
//! - `owner`: the calls onward. `answer` and `error`: all that a client is told.
//!
//! It keeps no disk, and nothing in memory that another gateway, or the same one after a restart, could not do without.

mod accepted;
mod answer;
mod authenticate;
mod call;
mod command;
mod config;
mod deadline;
mod door;
mod edge;
mod error;
mod ids;
mod limit;
mod locate;
mod measured;
mod outcomes;
mod owner;
mod query;
mod reflection;
mod routes;
mod seals;
mod server;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Micros, Schema};
use identity::Sealer;
use messaging::feed::Feed;
use messaging::queue::{Queue, Replies};
use serve::transport::{Incoming, Seats};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tower::Layer as _;

use accepted::Accepted;
use authenticate::{Authenticator, EndedSessions, KeySource};
pub use config::{Config, Limits};
use edge::{Edge, Gateway};
pub use error::Error;
pub use limit::Rate;
use limit::{Buckets, Whose};
use measured::Calls;
use owner::Owner;
use routes::Routes;
pub use seals::Now;
use seals::Seals;
use validate::Rules;

/// What reads what clients send, for the tests that feed it with everything.
#[doc(hidden)]
pub mod reading {
    pub use crate::error::Refusal;
    pub use crate::ids::{command_id, idempotency_key};
    pub use crate::validate::Rules;
}

/// Ten random bytes, from outside.
pub type Chance = Arc<dyn Fn() -> [u8; 10] + Send + Sync>;

/// What a gateway works with.
pub struct Deps {
    /// Has a key for each domain that is called.
    pub sealer: Sealer,
    pub queue: Queue,
    pub replies: Replies,
    pub now: Now,
    pub chance: Chance,
}

/// Serves until `stop`, then says NOT_SERVING, takes no more connections, and lets calls end for as long as the limits allow.
pub async fn run(
    config: Config,
    deps: Deps,
    incoming: TcpIncoming,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let schema = read_schema(&config)?;
    meter::show_gateway();
    for whose in Whose::ALL {
        meter::RATE_LIMITED.show(&[whose.name()]);
    }
    let (gateway, replies) = build(&config, &schema, deps)?;
    let gateway = Arc::new(gateway);
    let feed = feed(&gateway);
    let descriptors = reflection::public_descriptors(&schema, &gateway.routes)?;
    let (routes, health) = server::routes(Edge(Arc::clone(&gateway)), &descriptors, gateway.routes.services()).await?;
    let stopping = gateway.stopping.clone();
    let incoming = Incoming::new(incoming, config.limits.connections);
    let server = serve::transport::server(&serve::transport::Limits::EDGE, config.tls.as_ref())?
        .layer(server::layers(&config.allowed_origins)?)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stopping.clone().cancelled_owned());
    let drain = async {
        stop.await;
        health.set(ServingStatus::NotServing).await;
        stopping.cancel();
        fault::reach(fault::Point::Draining).await;
        tokio::time::sleep(config.limits.drain).await;
    };
    let noted = feed.follow(|record| gateway.authenticator.note(&record));
    let background = futures::future::join3(gateway.authenticator.load_keys(), noted, gateway.look_after_accepted());
    tokio::select! { biased;
        ended = server => ended.map_err(Error::from),
        // Calls that are still open are cut; their clients find out by `locate`.
        () = drain => Ok(()),
        () = replies.run() => Err(Error::BrokerClosed),
        _ = background => Ok(()),
    }
}

/// All that a request goes through once it has been read from its connection, and nothing that goes on beside it: for tests that have no port.
#[doc(hidden)]
pub async fn service(config: Config, deps: Deps) -> Result<server::Served, Error> {
    let schema = read_schema(&config)?;
    let (gateway, _) = build(&config, &schema, deps)?;
    let gateway = Arc::new(gateway);
    let descriptors = reflection::public_descriptors(&schema, &gateway.routes)?;
    let (routes, _) = server::routes(Edge(Arc::clone(&gateway)), &descriptors, gateway.routes.services()).await?;
    Ok(server::layers(&config.allowed_origins)?.layer(routes.prepare()))
}

fn read_schema(config: &Config) -> Result<Schema, Error> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|source| Error::Descriptors { path: path.clone(), source })
    };
    let files = config.descriptors.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut sets = vec![proto::DESCRIPTORS];
    sets.extend(files.iter().map(Vec::as_slice));
    Ok(Schema::decode(&sets)?)
}

fn build(config: &Config, schema: &Schema, deps: Deps) -> Result<(Gateway, Replies), Error> {
    let limits = config.limits;
    let mut owners = BTreeMap::new();
    for (domain, endpoint) in &config.endpoints {
        let owner = Owner::new(domain.clone(), endpoint.clone(), config.onward_tls.as_ref())?;
        owners.insert(domain.clone(), owner);
    }
    let seals = Seals::new(deps.sealer, Arc::clone(&deps.now));
    let keys = KeySource::new(owners.get(authenticate::DOMAIN).cloned(), seals.clone());
    let gateway = Gateway {
        limits,
        routes: Routes::new(schema, &owners),
        rules: Rules::compile(schema)?,
        authenticator: Authenticator::new(keys, EndedSessions::new(limits.session_memory)),
        open: Seats::new(limits.open_calls, limits.open_calls_per_address),
        addresses: Buckets::new(limits.per_address),
        attempts: Buckets::new(limits.attempts_per_address),
        principals: Buckets::new(limits.per_principal),
        seals,
        queue: deps.queue,
        now: deps.now,
        chance: deps.chance,
        stopping: CancellationToken::new(),
        accepted: Accepted::default(),
        other_calls: Calls::of("_OTHER"),
    };
    Ok((gateway, deps.replies))
}

/// What registration told lately, and tells from now on, of sessions and keys.
fn feed(gateway: &Gateway) -> Feed {
    let memory = i64::try_from(gateway.limits.session_memory.as_micros()).unwrap_or(0);
    let since = Micros((gateway.now)().0 - memory);
    gateway.queue.feed(authenticate::DOMAIN, &authenticate::AGGREGATES, since)
}
