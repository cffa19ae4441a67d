//! What happens to the shop from outside: services and brokers die and come back, disks are older than they were, clocks are wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::broker::Broker;
use crate::executor::Owner;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::instance;
use crate::operator;
use crate::sim::SERVICES;
use crate::simulation::Simulation;

/// Something happens once in so many turns.
const ODDS: u64 = 150;
/// The longest that something is away.
const AWAY: Duration = Duration::from_secs(40);

/// What is under way.
#[derive(Default)]
pub struct Weather {
    /// A copy of the broker's disk.
    pub(crate) copied: Option<Broker>,
    /// Copies of databases, and how many of them were put back.
    saved: BTreeMap<Owner, PathBuf>,
    pub(crate) restored: u64,
    /// What the world's tasks have to say.
    pub(crate) news: Arc<Mutex<News>>,
}

#[derive(Default)]
pub(crate) struct News {
    to_start: Vec<Owner>,
    stopped: Vec<Owner>,
    pub(crate) broker_is_back: bool,
    failures: Vec<String>,
}

impl Weather {
    /// Has a service started with the next turn.
    pub fn starts(&self, service: Owner) {
        lock(&self.news).to_start.push(service);
    }

    /// Whether any service has less than it had.
    pub fn is_restored(&self) -> bool {
        self.restored > 0
    }

    /// What should never have happened.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.news).failures)
    }
}

impl Simulation {
    /// From now on all goes well.
    pub(crate) fn heal(&mut self) {
        self.sim.set_calm(true);
        for service in SERVICES {
            self.sim.skew(service, 0);
        }
        if self.sim.wired().is_away {
            self.broker_comes_back();
        }
    }

    /// What has been announced happens, and perhaps something else does.
    pub(crate) async fn change_weather(&mut self) {
        let (to_start, stopped, is_back) = {
            let mut news = lock(&self.weather.news);
            let is_back = std::mem::take(&mut news.broker_is_back);
            (std::mem::take(&mut news.to_start), std::mem::take(&mut news.stopped), is_back)
        };
        for service in stopped {
            self.executor.kill(service);
            self.starts_after_a_while(service);
        }
        for service in to_start {
            self.start(service);
        }
        if is_back && self.sim.wired().is_away {
            self.broker_comes_back();
        }
        if !self.sim.is_calm() && self.sim.chance().below(ODDS) == 0 {
            self.strike().await;
        }
    }

    async fn strike(&mut self) {
        let service = SERVICES[usize::try_from(self.sim.chance().below(SERVICES.len() as u64)).unwrap_or(0)];
        match self.sim.chance().below(18) {
            0..=4 => {
                if self.sim.instance(service).is_some() {
                    self.sim.note(Fault::Killed);
                    self.kill(service);
                }
            }
            5 | 6 => self.stop(service),
            7 | 8 => self.broker_goes_away(),
            9 => self.wipe(),
            10 => self.rewind(),
            11 => {
                self.sim.note(Fault::ConsumersReset);
                self.sim.wired().broker.reset_consumers();
            }
            12 | 13 => self.lose_a_message(),
            14..=16 if self.restores && self.weather.saved.contains_key(service) => self.restore(service),
            14..=16 if self.restores => self.save(service),
            14 => {
                self.sim.note(Fault::ClockMoved);
                let hour = 3_600_000_000;
                let by = i64::try_from(self.sim.chance().below(2 * hour)).unwrap_or(0);
                self.sim.skew(service, by - i64::try_from(hour).unwrap_or(0));
            }
            // No call is on its way for hours.
            _ if self.premises.provider.is_called() => {}
            _ => {
                self.sim.note(Fault::TimeLeapt);
                tokio::time::advance(Duration::from_mins(1 + self.sim.chance().below(300))).await;
            }
        }
    }

    /// A service ends where it is, and is started again later.
    pub(crate) fn kill(&mut self, service: Owner) {
        self.sim.instances().remove(service);
        self.executor.kill(service);
        self.starts_after_a_while(service);
    }

    /// Copies a service's database while it is down.
    fn save(&mut self, service: Owner) {
        if self.sim.instance(service).is_none() {
            return;
        }
        self.sim.note(Fault::Killed);
        self.kill(service);
        let copy = self.premises.folder.join(format!("{service}.copy"));
        match instance::copy(&self.premises.database(service), &copy) {
            Ok(()) => drop(self.weather.saved.insert(service, copy)),
            Err(error) => lock(&self.weather.news).failures.push(format!("{service} cannot be copied: {error}")),
        }
    }

    /// Puts the copy back, and has an operator say so, as the manual has it.
    fn restore(&mut self, service: Owner) {
        let Some(copy) = self.weather.saved.get(service).cloned() else { return };
        if self.sim.instance(service).is_none() {
            return;
        }
        self.sim.note(Fault::DatabaseRestored);
        self.weather.restored += 1;
        self.kill(service);
        if let Err(error) = instance::copy(&copy, &self.premises.database(service)) {
            lock(&self.weather.news).failures.push(format!("{service} cannot be restored: {error}"));
        }
        let sim = self.sim.clone();
        self.sim.spawn("world", async move {
            while sim.instance(service).is_none() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            operator::raise(&sim, &Gateway::of_operators(sim.clone()), service).await;
        });
    }

    fn stop(&self, service: Owner) {
        let Some(instance) = self.sim.instances().remove(service) else { return };
        self.sim.note(Fault::Stopped);
        let (stopped, news) = (instance.stopped(), Arc::clone(&self.weather.news));
        drop(instance);
        // It may be killed while it stops.
        self.sim.spawn(service, async move {
            // What does not end by then is killed.
            let _ = tokio::time::timeout(Duration::from_secs(20), stopped).await;
            lock(&news).stopped.push(service);
        });
    }

    fn starts_after_a_while(&self, service: Owner) {
        let news = Arc::clone(&self.weather.news);
        let pause = self.a_while();
        self.sim.spawn("world", async move {
            tokio::time::sleep(pause).await;
            lock(&news).to_start.push(service);
        });
    }

    fn start(&self, service: Owner) {
        let (sim, premises, news) = (self.sim.clone(), self.premises.clone(), Arc::clone(&self.weather.news));
        self.sim.spawn(service, async move {
            let started = instance::start(sim, premises, service).await;
            if let Err(error) = started {
                lock(&news).failures.push(format!("{service} does not start: {error}"));
            }
        });
    }

    pub(crate) fn a_while(&self) -> Duration {
        Duration::from_millis(self.sim.chance().below(u64::try_from(AWAY.as_millis()).unwrap_or(1)))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
