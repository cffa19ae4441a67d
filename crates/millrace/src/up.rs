//! `millrace up`: everything in one process, on SQLite, with a broker of its own.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use messaging::Broker as Address;

use crate::keys::{self, KeysError};
use crate::operator::write_endpoints;
use crate::settings::Settings;
use crate::shop::{Shop, ShopError};
use crate::{Role, broker};

/// Where `up` keeps everything, and which broker it uses.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for the databases, the broker's streams and the master key.
    pub data: PathBuf,
    /// A broker that runs already; None: one of our own.
    pub nats_url: Option<String>,
    /// The nats-server executable for a broker of our own; None: the one on PATH, or that which the project has fetched.
    pub nats_server: Option<PathBuf>,
    /// How often a broker of our own forces what it has acknowledged to the disk, as nats-server's `sync_interval`; None: as it likes.
    pub broker_sync: Option<String>,
    pub namespace: String,
    /// Where the gateway listens.
    pub listen: std::net::SocketAddr,
    pub limits: gateway::Limits,
    /// Where pages may call from.
    pub allowed_origins: Vec<String>,
}

/// Why it does not run. Each is one sentence that a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("cannot write to the folder {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Broker(#[from] broker::Error),
    #[error(transparent)]
    Connect(#[from] messaging::ConnectError),
    #[error(transparent)]
    Shop(#[from] Arc<ShopError>),
}

/// All roles, and the broker if it is ours.
#[derive(Debug)]
pub struct Up {
    pub shop: Shop,
    broker: Option<broker::Broker>,
    data: PathBuf,
}

/// How long a broker that was named may take to answer.
const REACH: std::time::Duration = std::time::Duration::from_secs(5);

impl Up {
    /// Starts everything, and waits until it serves.
    pub async fn start(options: &Options) -> Result<Self, UpError> {
        let data = &options.data;
        // There are keys and tokens in it.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.map_err(|source| UpError::Folder { path: data.clone(), source })?;
        let master = keys::read_or_draw(&data.join(keys::MASTER))?;
        let (url, own) = match &options.nats_url {
            Some(url) => (url.clone(), None),
            None => start_broker(options).await.map(|own| (own.url(), Some(own)))?,
        };
        let address = Address { url, namespace: options.namespace.clone(), replicas: 1 };
        let client = messaging::connect(&address, "up").await?;
        messaging::reached(&client, &address.url, REACH).await?;
        let database = format!("sqlite://{}/{{service}}.db", data.display());
        let mut settings = Settings::local(database, address, master);
        settings.listen.insert(Role::Gateway, options.listen);
        settings.allowed_origins.clone_from(&options.allowed_origins);
        settings.limits = options.limits;
        let shop = Shop::start(settings, &Role::ALL).await?;
        let addresses = Role::services().map(|role| (role, format!("http://{}", shop.address(role)))).collect();
        write_endpoints(data, &addresses).map_err(|source| UpError::Folder { path: data.clone(), source })?;
        Ok(Self { shop, broker: own, data: data.clone() })
    }

    /// Stops everything, the broker last.
    pub async fn stop(self) -> Result<(), UpError> {
        // An operator who finds it is told that nobody answers there.
        let _ = write_endpoints(&self.data, &BTreeMap::new());
        let stopped = self.shop.stop().await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        Ok(stopped?)
    }
}

async fn start_broker(options: &Options) -> Result<broker::Broker, broker::Error> {
    let mut config = broker::Config::new(options.data.join("nats"));
    config.binary.clone_from(&options.nats_server);
    config.settings.sync_interval.clone_from(&options.broker_sync);
    broker::Broker::start(config).await
}
