//! What happens to the broker.

use std::sync::Arc;

use event::subject;

use crate::broker::{Broker, Kind};
use crate::fault::Fault;
use crate::sim::{NAMESPACE, SERVICES};
use crate::simulation::Simulation;
use crate::weather::lock;

impl Simulation {
    pub(crate) fn broker_goes_away(&self) {
        if self.sim.wired().is_away {
            return;
        }
        self.sim.note(Fault::BrokerAway);
        if self.sim.chance().below(2) == 0 {
            self.sim.wired().broker.crash(self.sim.now());
        }
        self.sim.wired().is_away = true;
        let (news, pause) = (Arc::clone(&self.weather.news), self.a_while());
        self.sim.spawn("world", async move {
            tokio::time::sleep(pause).await;
            lock(&news).broker_is_back = true;
        });
    }

    pub(crate) fn broker_comes_back(&self) {
        let mut wired = self.sim.wired();
        wired.broker.restart();
        wired.is_away = false;
        wired.connections += 1;
    }

    pub(crate) fn wipe(&self) {
        self.sim.note(Fault::BrokerWiped);
        self.sim.loses(|wired| {
            wired.broker = Broker::default();
            wired.connections += 1;
            // The queues are made again by their owners, which a simulation does not pull from.
            for service in SERVICES {
                let queue = subject::command_stream(NAMESPACE, service);
                wired.broker.ensure(&queue, Kind::Queue);
            }
        });
    }

    /// The disk becomes the copy that was taken last, or is copied.
    pub(crate) fn rewind(&mut self) {
        let Some(copy) = self.weather.copied.take() else {
            self.weather.copied = Some(self.sim.wired().broker.clone());
            return;
        };
        self.sim.note(Fault::BrokerRewound);
        self.sim.loses(|wired| {
            wired.broker = copy;
            wired.broker.restart();
            wired.connections += 1;
        });
    }

    pub(crate) fn lose_a_message(&self) {
        let wired = self.sim.wired();
        let full = wired.broker.streams().filter(|(_, _, messages)| *messages > 0);
        let full: Vec<_> = full.map(|(name, _, many)| (name.to_owned(), many)).collect();
        drop(wired);
        if full.is_empty() {
            return;
        }
        let (stream, many) = &full[usize::try_from(self.sim.chance().below(full.len() as u64)).unwrap_or(0)];
        let nth = usize::try_from(self.sim.chance().below(*many as u64)).unwrap_or(0);
        self.sim.note(Fault::MessageLost);
        self.sim.loses(|wired| {
            wired.broker.lose(stream, nth);
        });
    }
}
