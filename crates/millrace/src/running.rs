use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use event::Schema;
use gateway::Deps;
use identity::Sealer;
use ledger::{Chance, process_now};
use messaging::queue::Queue;
use serve::Signals;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::Role;
use crate::settings::Settings;
use crate::shop::ShopError;

/// A role that runs on a thread of its own, with a runtime of its own: two threads that share one runtime cost a tenth more, and a role that
/// is busy does not hold up the others.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a role ended.
pub type Ended = Result<(), Arc<ShopError>>;

impl Running {
    /// Starts the role, and waits until it serves.
    pub async fn start(
        role: Role,
        settings: Arc<Settings>,
        schema: Arc<Schema>,
        listener: TcpListener,
    ) -> Result<Self, Arc<ShopError>> {
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let (tell, mut ended) = watch::channel(None);
        let signals = Signals { stop: stop.clone(), ready };
        let work = move || {
            trace::role::set(&Arc::from(role.name()));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = match runtime {
                Ok(runtime) => runtime.block_on(serve(role, &settings, schema, listener, signals)),
                Err(error) => Err(ShopError::Thread(error)),
            };
            tell.send_replace(Some(result.map_err(Arc::new)));
        };
        thread::Builder::new()
            .name(role.name().to_owned())
            .spawn(work)
            .map_err(|error| Arc::new(ShopError::Thread(error)))?;
        if is_ready.await.is_err() {
            // It ended before it served; the thread says why, unless it panicked.
            let why = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
            return Err(why.and_then(Result::err).unwrap_or_else(|| Arc::new(ShopError::Panicked(role))));
        }
        Ok(Self { stop, ended })
    }

    /// Tells it to stop, and waits until it has finished what it began.
    pub async fn stop(self) -> Ended {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends, for whatever reason.
    pub async fn ended(mut self) -> Ended {
        let ended = self.ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ok(()))
    }

    /// The same, without giving it up.
    pub fn watch(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }
}

async fn serve(
    role: Role,
    settings: &Settings,
    schema: Arc<Schema>,
    listener: TcpListener,
    signals: Signals,
) -> Result<(), ShopError> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ShopError::Thread)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    match role.service(schema, &settings.provider(), settings.order).await? {
        Some(service) => Ok(serve::run(service, settings.service(role)?, incoming, signals).await?),
        None => serve_gateway(settings, incoming, signals).await,
    }
}

async fn serve_gateway(settings: &Settings, incoming: TcpIncoming, signals: Signals) -> Result<(), ShopError> {
    let client = messaging::connect(&settings.broker, Role::Gateway.name()).await.map_err(serve::RunError::from)?;
    let (queue, replies) = Queue::open(client, &settings.broker).await.map_err(|_| ShopError::NoInbox)?;
    let chance = Chance::new();
    let deps = Deps {
        sealer: Sealer::new(Role::Gateway.name(), settings.pair_keys(Role::Gateway)?),
        queue,
        replies,
        now: Arc::new(process_now),
        chance: Arc::new(move || chance.bytes()),
    };
    let _ = signals.ready.send(());
    Ok(gateway::run(settings.gateway(), deps, incoming, signals.stop.cancelled_owned()).await?)
}
