//! Tasks, polled one after another in an order that chance decides. Nothing runs beside what is polled: a run with the same chance is the same
//! run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use futures::future::BoxFuture;
use ledger::Chance;

/// Whose a task is: a service's, which is killed with it, or the world's.
pub type Owner = &'static str;

thread_local! {
    /// Whose task is being polled.
    static POLLED: Cell<Owner> = const { Cell::new("") };
}

/// Whose task is being polled now.
pub fn polled() -> Owner {
    POLLED.get()
}

/// Where new tasks come in. Clones share it.
#[derive(Clone, Default)]
pub struct Spawner(Arc<Mutex<Vec<Arrived>>>);

type Arrived = (Owner, BoxFuture<'static, ()>);

impl Spawner {
    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).push((owner, Box::pin(task)));
    }
}

#[derive(Default)]
pub struct Executor {
    tasks: BTreeMap<u64, Task>,
    spawner: Spawner,
    spawned: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

struct Task {
    owner: Owner,
    future: BoxFuture<'static, ()>,
    waker: Waker,
}

struct Wakeup {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.task);
    }
}

impl Executor {
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Polls one of the tasks that can go on. Its number; none if there is no such task.
    pub fn poll_one(&mut self, chance: &Chance) -> Option<u64> {
        self.take_in();
        let number = {
            let mut ready = lock(&self.ready);
            let nth = usize::try_from(chance.below(ready.len().max(1) as u64)).unwrap_or(0);
            let number = ready.iter().nth(nth).copied()?;
            ready.remove(&number);
            number
        };
        if let Some(task) = self.tasks.get_mut(&number) {
            POLLED.set(task.owner);
            // Its turn ends where it waits, and not where the runtime finds that it had enough.
            let poll =
                pin!(tokio::task::unconstrained(task.future.as_mut())).poll(&mut Context::from_waker(&task.waker));
            POLLED.set("");
            if poll.is_ready() {
                self.tasks.remove(&number);
            }
        }
        Some(number)
    }

    fn take_in(&mut self) {
        for (owner, future) in std::mem::take(&mut *lock(&self.spawner.0)) {
            let number = self.spawned;
            self.spawned += 1;
            let waker = Waker::from(Arc::new(Wakeup { task: number, ready: Arc::clone(&self.ready) }));
            self.tasks.insert(number, Task { owner, future, waker });
            lock(&self.ready).insert(number);
        }
    }

    /// Drops all tasks of somebody, wherever they are.
    pub fn kill(&mut self, owner: Owner) {
        self.take_in();
        self.tasks.retain(|_, task| task.owner != owner);
        // What they left to be done when they were dropped goes with them.
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lock(&self.spawner.0)).into_iter().partition(|(of, _)| *of == owner);
        lock(&self.spawner.0).extend(left);
        drop(gone);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
