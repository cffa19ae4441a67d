use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use event::Schema;

use crate::Role;
use crate::running::{Ended, Running};
use crate::settings::Settings;

/// Roles in one process. In one process, too, they talk to each other through NATS and gRPC.
#[derive(Debug)]
pub struct Shop {
    settings: Arc<Settings>,
    schema: Arc<Schema>,
    addresses: BTreeMap<Role, SocketAddr>,
    running: BTreeMap<Role, Running>,
}

/// Why a role does not run. Each is one sentence that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error("cannot listen on {address} for {role}: {source}")]
    Listen { role: Role, address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Settings(String),
    #[error("the protos cannot be read: {0}")]
    Schema(#[from] event::SchemaError),
    #[error(transparent)]
    Service(#[from] serve::RunError),
    #[error("the gateway: {0}")]
    Gateway(#[from] gateway::Error),
    #[error("the gateway cannot have an inbox at the broker")]
    NoInbox,
    #[error("the simulated payment provider: {0}")]
    Provider(ledger::OpenError),
    #[error("no thread for a role: {0}")]
    Thread(std::io::Error),
    #[error("{0} panicked; the log says why")]
    Panicked(Role),
}

impl Shop {
    /// Starts the roles, and waits until they serve. Ports of 0 become free ones, which the others are told.
    pub async fn start(mut settings: Settings, roles: &[Role]) -> Result<Self, Arc<ShopError>> {
        let tls = settings.tls.is_some();
        let mut listeners = BTreeMap::new();
        for role in roles {
            let listener = listen(*role, settings.listen(*role)).map_err(Arc::new)?;
            let address = listener.local_addr().map_err(|error| Arc::new(ShopError::Thread(error)))?;
            settings.endpoints.entry(role.name().to_owned()).or_insert_with(|| endpoint(address, tls));
            listeners.insert(*role, (listener, address));
        }
        let schema = Arc::new(Schema::embedded().map_err(|error| Arc::new(error.into()))?);
        let addresses = listeners.iter().map(|(role, (_, address))| (*role, *address)).collect();
        let mut shop = Self { settings: Arc::new(settings), schema, addresses, running: BTreeMap::new() };
        for (role, (listener, _)) in listeners {
            shop.start_on(role, listener).await?;
        }
        Ok(shop)
    }

    /// Starts a role that was stopped, where it was before.
    pub async fn start_role(&mut self, role: Role) -> Result<(), Arc<ShopError>> {
        let listener = listen(role, self.address(role)).map_err(Arc::new)?;
        self.start_on(role, listener).await
    }

    async fn start_on(&mut self, role: Role, listener: TcpListener) -> Result<(), Arc<ShopError>> {
        let running = Running::start(role, Arc::clone(&self.settings), Arc::clone(&self.schema), listener).await?;
        self.running.insert(role, running);
        Ok(())
    }

    /// Stops one role, and waits until it has finished what it began.
    pub async fn stop_role(&mut self, role: Role) -> Ended {
        match self.running.remove(&role) {
            Some(running) => running.stop().await,
            None => Ok(()),
        }
    }

    /// Where a role listens.
    pub fn address(&self, role: Role) -> SocketAddr {
        self.addresses.get(&role).copied().unwrap_or_else(|| self.settings.listen(role))
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits until any role ends, which it should not, and says how.
    pub async fn any_ended(&self) -> Ended {
        let watches: Vec<_> = self.running.values().map(Running::watch).collect();
        let ends = watches.into_iter().map(|mut watch| {
            Box::pin(async move {
                watch.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()).unwrap_or(Ok(()))
            })
        });
        futures::future::select_all(ends).await.0
    }

    /// Stops all roles: the gateway first, so that nothing new comes, and the others together.
    pub async fn stop(mut self) -> Ended {
        let first = self.stop_role(Role::Gateway).await;
        let rest = futures::future::join_all(self.running.into_values().map(Running::stop)).await;
        rest.into_iter().fold(first, Ended::and)
    }
}

/// Where a role that listens here is called.
fn endpoint(address: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    format!("{scheme}://{host}:{}", address.port())
}

fn listen(role: Role, address: SocketAddr) -> Result<TcpListener, ShopError> {
    let failed = |source| ShopError::Listen { role, address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
