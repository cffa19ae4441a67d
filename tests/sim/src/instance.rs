//! A service at work: production's own, on a database of its own, connected to what is simulated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use event::subject;
use futures::FutureExt as _;
use futures::future::ready;
use futures::stream;
use identity::{OwnerKeys, Sealer};
use ledger::{Chance, Clock, Retry};
use messaging::{Broker, CommandLoop, Held, SubscriptionLoop, Tasks};
use registration::Passwords;
use serve::{Bell, Calls, Node, Opened, Owners, Rings, Running, Server, Service, Wiring};
use tokio_util::sync::CancellationToken;

use crate::broker::Delivered;
use crate::executor::Owner;
use crate::network::way_to;
use crate::provider::SimulatedProvider;
use crate::sim::{NAMESPACE, SERVICES, Sim, master_key};
use crate::wire::{SimulatedMessage, SimulatedWire, subjects_of};

/// One that runs.
pub struct Instance {
    pub calls: Calls,
    pub opened: Arc<Opened>,
    commands: Option<Arc<CommandLoop>>,
    subscriptions: Vec<Arc<SubscriptionLoop>>,
    stop: CancellationToken,
    running: Arc<Running>,
}

/// What instances are made with.
#[derive(Clone)]
pub struct Premises {
    pub folder: PathBuf,
    pub provider: SimulatedProvider,
    pub passwords: Passwords,
    /// How long an order waits for its payment.
    pub answer_within: Duration,
}

impl Premises {
    pub fn database(&self, service: Owner) -> PathBuf {
        self.folder.join(format!("{service}.db"))
    }

    fn service(&self, sim: &Sim, name: Owner) -> Service {
        let schema = sim.schema();
        match name {
            "registration" => {
                let passwords = self.passwords.clone();
                registration::service(schema, registration::Settings { passwords, ..Default::default() })
            }
            "user" => user::service(schema),
            "order" => order::service(schema, order::Settings { answer_within: self.answer_within }),
            _ => billing::service(schema, Arc::new(self.provider.clone()), billing::Settings::default()),
        }
    }
}

/// What an instance hears at one stream.
pub struct Ear {
    pub stream: String,
    pub consumer: String,
    /// Where the subjects begin that it listens to.
    pub subjects: Vec<String>,
    listener: Listener,
}

enum Listener {
    Commands(Arc<CommandLoop>),
    Subscription(Arc<SubscriptionLoop>),
}

/// Starts a service. It is there once it has opened its database and done what it does at its start; why it is not, if it cannot be.
pub async fn start(sim: Sim, premises: Premises, name: Owner) -> Result<(), String> {
    let mut service = premises.service(&sim, name);
    let url = format!("sqlite://{}", premises.database(name).display());
    let database = service.database(&url).await.map_err(|error| error.to_string())?;
    let (clock, chance) = (Clock::Manual(sim.clock(name)), Chance::seeded(sim.chance().bytes()));
    let opened = service.open(database, clock, chance, Retry::default()).await.map_err(|error| error.to_string())?;
    let (opened, stop) = (Arc::new(opened), CancellationToken::new());
    let wiring = Wiring {
        broker: Broker { url: String::new(), namespace: NAMESPACE.to_owned(), replicas: 1 },
        wire: Arc::new(SimulatedWire(sim.clone())),
        owners: owners(&sim, &opened, name),
        keys: OwnerKeys::from(master_key().owner(name)),
        bell: silent(),
        tasks: tasks(&sim, name),
        stop: stop.clone(),
    };
    let node = Node::start(Arc::clone(&opened), wiring).await.map_err(|error| error.to_string())?;
    let Node { calls, commands, subscriptions, running } = node;
    let commands = commands.map(Arc::new);
    if commands.is_some() {
        sim.wired().broker.ensure(&subject::command_stream(NAMESPACE, name), crate::broker::Kind::Queue);
    }
    let subscriptions = subscriptions.into_iter().map(Arc::new).collect();
    let instance = Instance { calls, opened, commands, subscriptions, stop, running: Arc::new(running) };
    sim.instances().insert(name, Arc::new(instance));
    Ok(())
}

fn owners(sim: &Sim, opened: &Opened, name: Owner) -> Owners {
    let others = SERVICES.into_iter().filter(|other| *other != name);
    let server = |other: Owner| (other.to_owned(), Server { address: other.to_owned(), callee: way_to(sim, other) });
    let keys = others.clone().map(|other| (other.to_owned(), master_key().owner(other).pair(name)));
    Owners::new(others.map(server).collect(), Sealer::new(name, keys), opened.ledger.clone())
}

fn tasks(sim: &Sim, name: Owner) -> Tasks {
    let spawner = sim.spawner();
    Tasks::polled_by(Arc::new(move |task| spawner.spawn(name, task)))
}

/// Nobody watches.
fn silent() -> Bell {
    Arc::new(|_| ready(Box::pin(stream::empty()) as Rings).boxed())
}

impl Instance {
    /// Everything that it hears.
    pub fn ears(&self, name: Owner) -> Vec<Ear> {
        let commands = self.commands.iter().map(|commands| Ear {
            stream: subject::command_stream(NAMESPACE, name),
            consumer: name.to_owned(),
            subjects: vec![format!("{NAMESPACE}.")],
            listener: Listener::Commands(Arc::clone(commands)),
        });
        let subscriptions = self.subscriptions.iter().map(|subscription| Ear {
            stream: subject::event_stream(NAMESPACE, &subscription.domain),
            consumer: subscription.group(),
            subjects: subjects_of(&subscription.domain, &subscription.aggregates),
            listener: Listener::Subscription(Arc::clone(subscription)),
        });
        commands.chain(subscriptions).collect()
    }

    /// Tells it to stop. It has once this returns; new calls are not for it any more.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let (stop, running) = (self.stop.clone(), Arc::clone(&self.running));
        async move {
            stop.cancel();
            running.drained().await;
        }
    }
}

impl Ear {
    /// Takes a message in, and tells the broker what became of it.
    pub fn hear(&self, sim: &Sim, delivered: Delivered) -> futures::future::BoxFuture<'static, ()> {
        let held = Held::by_hand(SimulatedMessage { sim: sim.clone(), delivered });
        match &self.listener {
            Listener::Commands(commands) => Arc::clone(commands).take(held).boxed(),
            Listener::Subscription(subscription) => {
                let subscription = Arc::clone(subscription);
                async move {
                    if let Some(settled) = subscription.take(held).await {
                        settled.await;
                    }
                }
                .boxed()
            }
        }
    }
}

/// Copies a database that nobody has open.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for end in ["", "-wal", "-shm"] {
        let with = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        let (from, to) = (with(from), with(to));
        if from.exists() {
            std::fs::copy(&from, &to)?;
        } else if to.exists() {
            std::fs::remove_file(&to)?;
        }
    }
    Ok(())
}
