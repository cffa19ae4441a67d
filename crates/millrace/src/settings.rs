//! Where everything is: from flags and variables, or chosen by `up`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use identity::{MasterKey, OwnerKeys, PairKey};
use ledger::Retry;
use messaging::Broker;
use serve::transport::Tls;

use crate::Role;
use crate::shop::ShopError;

/// What roles need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of each service's database, with `{service}` in the place of its name.
    pub database: String,
    pub broker: Broker,
    pub keys: Keys,
    /// Where roles listen; those that are not named, on their default ports of this machine.
    pub listen: BTreeMap<Role, SocketAddr>,
    /// Where services are, by domain.
    pub endpoints: BTreeMap<String, String>,
    pub limits: gateway::Limits,
    pub allowed_origins: Vec<String>,
    pub descriptors: Vec<std::path::PathBuf>,
    /// What services listen with, and call each other with: each shows a certificate, and takes nobody without one.
    pub tls: Option<Tls>,
    /// What the gateway listens with: it shows a certificate, and asks clients for none.
    pub edge_tls: Option<Tls>,
    pub retry: Retry,
    /// What the order service is told.
    pub order: order::Settings,
}

/// The keys of seals.
#[derive(Clone, Debug)]
pub enum Keys {
    /// All of them, derived. Only `up` holds the master key while it serves.
    Master(MasterKey),
    /// Those that were given to this process.
    Given { owners: BTreeMap<Role, OwnerKeys>, pairs: BTreeMap<(Role, Role), PairKey> },
}

impl Settings {
    /// Everything on this machine, on free ports.
    pub fn local(database: String, broker: Broker, master: MasterKey) -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            database,
            broker,
            keys: Keys::Master(master),
            listen: Role::ALL.into_iter().map(|role| (role, anywhere)).collect(),
            endpoints: BTreeMap::new(),
            limits: gateway::Limits::default(),
            allowed_origins: Vec::new(),
            descriptors: Vec::new(),
            tls: None,
            edge_tls: None,
            retry: Retry::default(),
            order: order::Settings::default(),
        }
    }

    pub fn listen(&self, role: Role) -> SocketAddr {
        self.listen.get(&role).copied().unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, role.default_port())))
    }

    /// The address of one service's database.
    pub fn database_of(&self, service: &str) -> String {
        self.database.replace("{service}", service)
    }

    /// Where the simulated payment provider keeps what it was asked: never in the service's own transactions.
    pub fn provider(&self) -> String {
        if self.database.starts_with("sqlite:") {
            self.database_of("provider")
        } else {
            self.database_of(Role::Billing.name())
        }
    }

    pub(crate) fn service(&self, role: Role) -> Result<serve::Config, ShopError> {
        Ok(serve::Config {
            database: self.database_of(role.name()),
            broker: self.broker.clone(),
            keys: self.owner_keys(role)?,
            pair_keys: self.pair_keys(role)?,
            endpoints: self.endpoints.clone(),
            tls: self.tls.clone(),
            retry: self.retry,
        })
    }

    pub(crate) fn gateway(&self) -> gateway::Config {
        let services = Role::services().map(Role::name);
        let endpoint = |domain: &'static str| Some((domain.to_owned(), self.endpoints.get(domain)?.clone()));
        gateway::Config {
            namespace: self.broker.namespace.clone(),
            endpoints: services.filter_map(endpoint).collect(),
            descriptors: self.descriptors.clone(),
            allowed_origins: self.allowed_origins.clone(),
            tls: self.edge_tls.clone(),
            onward_tls: self.tls.clone(),
            limits: self.limits,
        }
    }

    fn owner_keys(&self, role: Role) -> Result<OwnerKeys, ShopError> {
        match &self.keys {
            Keys::Master(master) => Ok(master.owner(role.name()).into()),
            Keys::Given { owners, .. } => {
                let missing = || {
                    ShopError::Settings(format!(
                        "{role} needs its key: set {}, as `millrace keys` prints it",
                        key_variable(role)
                    ))
                };
                owners.get(&role).cloned().ok_or_else(missing)
            }
        }
    }

    pub(crate) fn pair_keys(&self, caller: Role) -> Result<BTreeMap<String, PairKey>, ShopError> {
        let pair = |owner: &Role| match &self.keys {
            Keys::Master(master) => Ok((owner.name().to_owned(), master.owner(owner.name()).pair(caller.name()))),
            Keys::Given { pairs, .. } => {
                let missing = || {
                    let variable = pair_variable(caller, *owner);
                    ShopError::Settings(format!(
                        "{caller} needs its key for {owner}: set {variable}, as `millrace keys` prints it"
                    ))
                };
                pairs.get(&(caller, *owner)).cloned().map(|key| (owner.name().to_owned(), key)).ok_or_else(missing)
            }
        };
        caller.calls().iter().map(pair).collect()
    }
}

/// The variable with the key under which a service accepts seals.
pub fn key_variable(owner: Role) -> String {
    format!("MILLRACE_KEY_{}", owner.name().to_uppercase())
}

/// The variable with the key under which one role seals its calls to another.
pub fn pair_variable(caller: Role, owner: Role) -> String {
    format!("MILLRACE_PAIR_KEY_{}_{}", caller.name().to_uppercase(), owner.name().to_uppercase())
}

/// The variable with the key under which operators seal their calls to a service.
pub fn operator_key_variable(owner: Role) -> String {
    format!("MILLRACE_PAIR_KEY_OPERATOR_{}", owner.name().to_uppercase())
}

/// The variable with the address of a service.
pub fn endpoint_variable(domain: &str) -> String {
    format!("MILLRACE_ENDPOINT_{}", domain.to_uppercase())
}
