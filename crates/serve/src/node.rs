//! One instance of a service, put together: what [`run`](crate::run) serves over the network, and a simulation drives by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{Access, Delivery as Travel, Kind, Method, Micros, Schema};
use fault::{Point, reach};
use identity::{OwnerKeys, Verifier};
use ledger::{CommandResult, Ledger, Outcome};
use messaging::{Broker, CommandLoop, Committed, Lanes, Relay, SubscriptionLoop, Tasks, Wire};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::audit::Auditor;
use crate::consistency::Consistency;
use crate::effects::Worker;
use crate::heal::Healer;
use crate::intake::Judge;
use crate::opened::Opened;
use crate::owner::{Calls, Owner};
use crate::owners::Owners;
use crate::redriven::Redriven;
use crate::run::RunError;
use crate::timers::Timers;
use crate::watch::Bell;

/// How long a start waits for the broker to say where its stream ends. Without an answer the service serves, and asks later.
pub(crate) const BEFORE_START: Duration = Duration::from_secs(1);
/// Between two attempts at what a service does at its start, as long as its log is older than its readers.
const BEHIND: Duration = Duration::from_secs(1);

/// What an instance is connected to.
pub struct Wiring {
    pub broker: Broker,
    pub wire: Arc<dyn Wire>,
    pub owners: Owners,
    /// The keys under which it accepts seals.
    pub keys: OwnerKeys,
    pub bell: Bell,
    pub tasks: Tasks,
    pub stop: CancellationToken,
}

/// An instance at work: its tasks run, and it takes in what it is brought.
pub struct Node {
    /// Answers calls.
    pub calls: Calls,
    /// Takes commands from the queue, if its domain has any.
    pub commands: Option<CommandLoop>,
    /// Take events from the streams.
    pub subscriptions: Vec<SubscriptionLoop>,
    pub running: Running,
}

/// What ends last.
pub struct Running {
    name: &'static str,
    ledger: Ledger,
    tasks: Tasks,
    lanes: Tasks,
    relay: Tasks,
    relay_stop: CancellationToken,
}

impl Node {
    /// Starts all that a service does of its own accord. First of all, before anybody is served, it does what it gives itself to do at its
    /// start, and asks the broker whether its log is older than what others have read.
    pub async fn start(opened: Arc<Opened>, wiring: Wiring) -> Result<Self, RunError> {
        let (ledger, tasks) = (opened.ledger.clone(), wiring.tasks.clone());
        let (committed, to_relay, to_worker) = Committed::new();
        let (lane_tasks, relay_tasks) = (tasks.apart(), tasks.apart());
        let lanes = Lanes::start(&ledger, &committed, &lane_tasks);
        begin(&opened, &lanes, &wiring).await?;
        let relay = Relay { domain: opened.name.to_owned(), wire: Arc::clone(&wiring.wire), ledger: ledger.clone() };
        if wiring.wire.is_connected() {
            // Whatever it says, the relay asks again.
            let _ = tokio::time::timeout(BEFORE_START, relay.meet_stream()).await;
        }
        let relay_stop = CancellationToken::new();
        relay_tasks.spawn(relay.run(to_relay, relay_stop.clone()));

        let judge = Judge {
            consistency: Consistency::new(Arc::clone(&opened), wiring.owners.clone()),
            verifier: Arc::new(Verifier::new(wiring.keys.clone())),
            opened,
        };
        start_healing(&judge, &lanes, &wiring);
        let worker = Worker { ledger: ledger.clone(), lanes: lanes.clone(), committed };
        tasks.spawn(worker.run(to_worker, wiring.stop.clone(), tasks.clone()));
        let running =
            Running { name: judge.opened.name, ledger, tasks, lanes: lane_tasks, relay: relay_tasks, relay_stop };
        let (commands, subscriptions) = (commands(&judge, &lanes, &wiring), subscriptions(&judge, &lanes, &wiring));
        let Wiring { owners, bell, stop, .. } = wiring;
        Ok(Self {
            calls: Calls(Arc::new(Owner { judge, lanes, bell, owners, stop })),
            commands,
            subscriptions,
            running,
        })
    }
}

impl Running {
    /// Finishes what was begun. To be called once the instance was told to stop, and whoever brought it anything has gone.
    pub async fn drained(&self) {
        reach(Point::Draining).await;
        self.tasks.ended().await;
        self.lanes.ended().await;
        self.relay_stop.cancel();
        self.relay.ended().await;
    }

    pub async fn close(self) -> Result<(), RunError> {
        self.ledger.close().await.map_err(|source| RunError::Ledger { service: self.name, source })
    }
}

/// Does what the service gives itself to do. A log that is older than its readers does nothing before its epoch is raised: then it is done
/// as soon as that is.
async fn begin(opened: &Arc<Opened>, lanes: &Lanes, wiring: &Wiring) -> Result<(), RunError> {
    if !opened.ledger.was_behind() {
        return at_start(opened, lanes).await;
    }
    let (opened, lanes, stop) = (Arc::clone(opened), lanes.clone(), wiring.stop.clone());
    wiring.tasks.spawn(async move {
        while at_start(&opened, &lanes).await.is_err() {
            if stop.run_until_cancelled(tokio::time::sleep(BEHIND)).await.is_none() {
                return;
            }
        }
    });
    Ok(())
}

async fn at_start(opened: &Opened, lanes: &Lanes) -> Result<(), RunError> {
    for delivery in opened.at_start(opened.ledger.about_now()) {
        let outcome = lanes.submit(delivery).await;
        if !matches!(&outcome, Outcome::Ended(ended) if matches!(ended.result, CommandResult::Completed(_))) {
            return Err(RunError::AtStart { service: opened.name, outcome: format!("{outcome:?}") });
        }
    }
    Ok(())
}

/// Whether anything ever comes through the queue of this domain.
fn has_durable_commands(schema: &Schema, domain: &str) -> bool {
    let durable = |method: &Method| {
        method.kind == Kind::Command && method.access != Access::Internal && method.delivery == Travel::Durable
    };
    schema.methods().any(|method| method.domain == domain && durable(method))
}

fn commands(judge: &Judge, lanes: &Lanes, wiring: &Wiring) -> Option<CommandLoop> {
    let opened = &judge.opened;
    has_durable_commands(&opened.schema, opened.name).then(|| {
        let judge = judge.clone();
        CommandLoop {
            domain: judge.opened.name.to_owned(),
            broker: wiring.broker.clone(),
            wire: Arc::clone(&wiring.wire),
            lanes: lanes.clone(),
            intake: Arc::new(move |incoming| {
                let judge = judge.clone();
                Box::pin(async move { judge.queued(incoming).await })
            }),
        }
    })
}

/// One for each subscription and each domain that it follows.
fn subscriptions(judge: &Judge, lanes: &Lanes, wiring: &Wiring) -> Vec<SubscriptionLoop> {
    let opened = &judge.opened;
    let mut subscriptions = Vec::new();
    for subscription in opened.ledger.handlers().subscriptions() {
        let mut by_domain: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for followed in subscription.follows() {
            by_domain.entry(followed.domain).or_default().push(followed.aggregate);
        }
        subscriptions.extend(by_domain.into_iter().map(|(domain, aggregates)| SubscriptionLoop {
            name: subscription.name,
            service: opened.name.to_owned(),
            domain,
            aggregates,
            broker: wiring.broker.clone(),
            lanes: lanes.clone(),
            ledger: opened.ledger.clone(),
        }));
    }
    subscriptions
}

/// What brings itself: keys that wait, timers, and commands that an operator has driven again.
fn start_healing(judge: &Judge, lanes: &Lanes, wiring: &Wiring) {
    let (opened, Wiring { tasks, stop, owners, .. }) = (&judge.opened, wiring);
    let audit = Arc::new(Notify::new());
    let (tell_audited, audited_until) = watch::channel(Micros(0));
    let (tell, read_until) = watch::channel(Micros(0));
    let healer = Healer {
        service: opened.name,
        namespace: wiring.broker.namespace.clone(),
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
        owners: owners.clone(),
        wire: Arc::clone(&wiring.wire),
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
