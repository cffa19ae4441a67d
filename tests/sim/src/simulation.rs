//! One run: what a seed makes of the shop, from its first customer to the last look at the books.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use argon2::Params;
use event::Schema;
use fault::Interceptor;
use ledger::Chance;
use registration::{Hashing, Passwords};
use tempfile::TempDir;

use crate::customers::{CUSTOMERS, Crowd, Customer};
use crate::executor::{Executor, Owner, polled};
use crate::fault::Fault;
use crate::folder;
use crate::history::History;
use crate::instance::Premises;
use crate::operator;
use crate::promises;
use crate::provider::SimulatedProvider;
use crate::sim::{SERVICES, Sim};
use crate::weather::Weather;

/// Turns in which things go wrong.
const TROUBLE: u64 = 6_000;
/// Turns that are left for everything to come to rest. Far more than ever were needed.
const PATIENCE: u64 = 400_000;
/// How long an order waits for its payment: seconds, so that the deadline comes often, or hours, so that it hardly does.
const ANSWER_WITHIN: [Duration; 3] = [Duration::from_secs(30), Duration::from_mins(10), Duration::from_hours(4)];

/// Once in so many times that a service comes to a point at which it could die, it does.
const POINTS: u64 = 150;
/// More than clocks differ: what happened before so long ago happened before now, whoever says so.
const CLOCKS_DIFFER: Duration = Duration::from_hours(3);

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// The broken promises.
    pub violations: Vec<String>,
    pub faults: BTreeMap<Fault, u64>,
    /// Commands that were sent, each counted once.
    pub commands: usize,
    /// The same for the same run.
    pub digest: u64,
    pub turns: u64,
}

/// Runs the shop as the seed has it.
pub fn run(seed: u64, schema: Arc<Schema>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| unreachable!("a runtime without threads and sockets: {error}"));
    runtime.block_on(async { Simulation::new(seed, schema).run().await })
}

pub(crate) struct Simulation {
    seed: u64,
    pub(crate) sim: Sim,
    pub(crate) executor: Executor,
    pub(crate) premises: Premises,
    history: History,
    crowd: Crowd,
    /// Who has come to a point at which they die.
    doomed: Rc<Cell<Option<Owner>>>,
    turns: u64,
    digest: u64,
    pub(crate) weather: Weather,
    /// Whether databases are restored to older states in this run. It is one in four: much less is promised then.
    pub(crate) restores: bool,
    _interceptor: Interceptor,
    _folder: TempDir,
}

impl Simulation {
    fn new(seed: u64, schema: Arc<Schema>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (chance, executor) = (Chance::seeded(bytes), Executor::default());
        let sim = Sim::new(chance, executor.spawner(), schema);
        let folder = folder::in_memory();
        let nth = usize::try_from(sim.chance().below(ANSWER_WITHIN.len() as u64)).unwrap_or(0);
        let premises = Premises {
            folder: folder.path().to_owned(),
            provider: SimulatedProvider::new(sim.clone()),
            passwords: easy_passwords(),
            answer_within: ANSWER_WITHIN[nth],
        };
        let restores = sim.chance().below(4) == 0;
        let doomed: Rc<Cell<Option<Owner>>> = Rc::default();
        let interceptor = {
            let (sim, doomed) = (sim.clone(), Rc::clone(&doomed));
            Interceptor::new(move |_| {
                let dies = SERVICES.contains(&polled()) && sim.strikes(Fault::KilledAtPoint, POINTS);
                if dies {
                    doomed.set(Some(polled()));
                }
                dies
            })
        };
        Self {
            seed,
            sim,
            executor,
            premises,
            history: History::default(),
            crowd: Crowd::default(),
            doomed,
            turns: 0,
            digest: seed,
            weather: Weather::default(),
            restores,
            _interceptor: interceptor,
            _folder: folder,
        }
    }

    async fn run(mut self) -> Report {
        for service in SERVICES {
            self.weather.starts(service);
        }
        let customers = self.open().await;
        self.sim.set_calm(false);
        for customer in &customers {
            let shopping = customer.clone();
            customer.at_once(async move { shopping.shop().await });
        }
        for _ in 0..TROUBLE {
            if self.crowd.is_gone() && self.sim.chance().below(500) == 0 {
                break;
            }
            self.turn().await;
        }
        self.heal();
        self.sim.spawn("world", operator::attend(self.sim.clone()));
        let mut violations = self.rest().await;
        // By any clock that there was.
        tokio::time::advance(CLOCKS_DIFFER).await;
        for customer in customers {
            let intruder = customer.clone();
            customer.at_once(async move { intruder.intrude().await });
        }
        if violations.is_empty() {
            violations = self.rest().await;
        }
        if violations.is_empty() {
            let told = self.history.all();
            violations = promises::broken(&self.sim, &self.premises, &told, self.weather.is_restored()).await;
        }
        violations.extend(self.weather.take_failures());
        self.close();
        Report {
            seed: self.seed,
            violations,
            faults: self.sim.faults(),
            commands: self.history.all().len(),
            digest: self.digest,
            turns: self.turns,
        }
    }

    /// Ends everything. What is shared holds what runs, and that holds what is shared: neither would go by itself, nor the files that it has open.
    fn close(&mut self) {
        self.sim.instances().clear();
        for owner in SERVICES.into_iter().chain(["world", "customers"]) {
            self.executor.kill(owner);
        }
        self.sim.instances().clear();
    }

    /// Opens the shop, and lets the first customers in.
    async fn open(&mut self) -> Vec<Customer> {
        let entered: Arc<std::sync::Mutex<Vec<Customer>>> = Arc::default();
        let (sim, history, crowd, into) =
            (self.sim.clone(), self.history.clone(), self.crowd.clone(), Arc::clone(&entered));
        self.sim.spawn("customers", async move {
            for number in 0..CUSTOMERS {
                let customer = Customer::enter(sim.clone(), history.clone(), crowd.clone(), number).await;
                into.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(customer);
            }
        });
        loop {
            self.turn().await;
            let entered = entered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if entered.len() == CUSTOMERS {
                return entered.clone();
            }
        }
    }

    /// Lets time pass until everything has come to its end; what has not, if it does not.
    async fn rest(&mut self) -> Vec<String> {
        let mut unfinished = Vec::new();
        for turn in 0..PATIENCE {
            self.turn().await;
            let quiet = self.crowd.is_gone() && self.sim.is_whole() && !self.premises.provider.is_called();
            if turn % 500 == 499 && quiet {
                unfinished = promises::unfinished(&self.sim, &self.premises).await;
                if unfinished.is_empty() {
                    return unfinished;
                }
            }
        }
        if !self.crowd.is_gone() {
            unfinished.push("customers still wait for answers".to_owned());
        }
        unfinished
    }

    async fn turn(&mut self) {
        self.turns += 1;
        self.sim.tick();
        // What has yielded goes on.
        tokio::task::yield_now().await;
        self.change_weather().await;
        let chance = self.sim.chance().clone();
        if chance.below(4) == 0 && self.deliver() {
            return;
        }
        match self.executor.poll_one(&chance) {
            Some(task) => self.has_polled(task),
            None if self.deliver() => {}
            None => self.idle().await,
        }
    }

    fn has_polled(&mut self, task: u64) {
        self.digest = self.digest.rotate_left(5).wrapping_add(task).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(doomed) = self.doomed.take() {
            self.kill(doomed);
        }
    }

    /// Nobody can do anything but wait.
    async fn idle(&self) {
        let longest = if self.sim.is_calm() { 3_000 } else { 400 };
        tokio::time::advance(Duration::from_millis(1 + self.sim.chance().below(longest))).await;
    }
}

/// What guards nobody, and costs nothing.
fn easy_passwords() -> Passwords {
    let strength = Params::new(Params::MIN_M_COST, Params::MIN_T_COST, Params::MIN_P_COST, None);
    let strength = strength.unwrap_or_else(|error| unreachable!("the least of everything: {error}"));
    Passwords::new(Hashing { strength, at_once: 1, waiting: 8, apart: false })
}
