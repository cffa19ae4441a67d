//! The simulation's broker, while nothing goes wrong that the suite does not do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::{Id, Schema, headers, subject};
use futures::future::{BoxFuture, FutureExt as _};
use ledger::Chance;
use messaging::queue::QueueError;
use messaging::{Brought, Wire};
use millrace_sim::broker::{Broker as Disk, Kind, Message, Refused};
use millrace_sim::executor::Spawner;
use millrace_sim::sim::{NAMESPACE, Sim};
use millrace_sim::wire::{SimulatedMessage, SimulatedWire, subjects_of};
use proto::command::v1::DeliverResponse;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::{Broker, Ear, METHOD, OWNER};

/// How many seeds each check runs with.
pub(crate) const SEEDS: u8 = 20;
/// How often it is looked whether there is something to be brought. No time passes meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) struct Simulated {
    sim: Sim,
    wire: SimulatedWire,
}

impl Simulated {
    pub(crate) fn new(seed: u8) -> Self {
        let schema = Arc::new(Schema::embedded().unwrap());
        let sim = Sim::new(Chance::seeded([seed; 32]), Spawner::default(), schema);
        Self { wire: SimulatedWire(sim.clone()), sim }
    }
}

#[async_trait(?Send)]
impl Broker for Simulated {
    fn wire(&self) -> &dyn Wire {
        &self.wire
    }

    fn namespace(&self) -> &str {
        NAMESPACE
    }

    async fn subscriber(&self, domain: &str, name: &str, aggregates: &[&str]) -> Box<dyn Ear> {
        let (stream, subjects) = (subject::event_stream(NAMESPACE, domain), subjects_of(domain, aggregates));
        Box::new(SimulatedEar { sim: self.sim.clone(), stream, consumer: name.to_owned(), subjects })
    }

    async fn worker(&self) -> Box<dyn Ear> {
        let stream = subject::command_stream(NAMESPACE, OWNER);
        self.sim.wired().broker.ensure(&stream, Kind::Queue);
        let subjects = vec![format!("{NAMESPACE}.")];
        Box::new(SimulatedEar { sim: self.sim.clone(), stream, consumer: OWNER.to_owned(), subjects })
    }

    async fn queue(&self, id: Id) -> Result<(), QueueError> {
        let subject = subject::of_command(NAMESPACE, METHOD, id);
        let message = Message {
            subject,
            headers: vec![(headers::SEAL, "seal".to_owned())],
            payload: Bytes::from_static(b"body"),
        };
        let stream = subject::command_stream(NAMESPACE, OWNER);
        let stored = self.sim.wired().broker.publish(&stream, None, message, self.sim.now());
        stored.map_err(|refused| match refused {
            Refused::Copy => QueueError::Copy,
            Refused::NoStream => QueueError::Unreachable,
        })
    }

    async fn expect_reply(&self) -> (String, BoxFuture<'static, DeliverResponse>) {
        let (waiting, answered) = oneshot::channel();
        let to = format!("reply.{}", self.sim.chance().below(u64::MAX));
        self.sim.replies().insert(to.clone(), waiting);
        (to, answered.map(|answer| answer.expect("a reply arrives")).boxed())
    }

    async fn litter(&self, domain: &str) {
        let (stream, subject) = (subject::event_stream(NAMESPACE, domain), format!("{NAMESPACE}.evt.{domain}.litter"));
        let message = Message { subject, headers: Vec::new(), payload: Bytes::new() };
        self.sim.wired().broker.publish(&stream, None, message, self.sim.now()).unwrap();
    }

    async fn lose(&self, stream: &str, sequence: u64) {
        assert!(self.sim.wired().broker.delete(stream, sequence), "it was there");
    }

    async fn unacknowledged(&self) -> usize {
        self.sim.wired().broker.unacknowledged()
    }

    async fn delete_consumers(&self) {
        self.sim.wired().broker.reset_consumers();
    }

    async fn delete_streams(&self) {
        self.sim.wired().broker = Disk::default();
    }

    async fn stop(&self) {
        self.sim.wired().is_away = true;
    }

    async fn crash(&self) {
        self.sim.wired().broker.crash(self.sim.now());
        self.stop().await;
    }

    async fn start(&self) {
        let mut wired = self.sim.wired();
        wired.broker.restart();
        wired.is_away = false;
        wired.connections += 1;
    }
}

struct SimulatedEar {
    sim: Sim,
    stream: String,
    consumer: String,
    subjects: Vec<String>,
}

impl SimulatedEar {
    /// Any of what can be brought now.
    fn now(&self) -> Option<SimulatedMessage> {
        let (now, mut wired) = (self.sim.now(), self.sim.wired());
        let sequences = wired.broker.available(&self.stream, &self.consumer, &self.subjects, now);
        let nth = usize::try_from(self.sim.chance().below(sequences.len().max(1) as u64)).unwrap();
        let delivered = wired.broker.bring(&self.stream, &self.consumer, *sequences.get(nth)?, now)?;
        Some(SimulatedMessage { sim: self.sim.clone(), delivered })
    }
}

#[async_trait(?Send)]
impl Ear for SimulatedEar {
    async fn within(&mut self, limit: Duration) -> Option<Box<dyn Brought>> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if let Some(message) = self.now() {
                return Some(Box::new(message));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        None
    }
}
