//! Commands that were answered ACCEPTED, looked after until they end. If a broker's disk is lost with what was queued, this memory is what
//! is left of them; if both are lost, `locate` says UNKNOWN.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event::Id;
use futures::{StreamExt as _, stream};
use identity::Principal;
use messaging::queue;
use tokio::time::Instant;

use crate::command::deliver;
use crate::edge::Gateway;
use crate::error::Refusal;
use crate::locate::Found;
use crate::routes::Route;
use crate::seals::COMMAND_GOOD_FOR;

/// Remembered at once. The oldest is forgotten first: it has most likely ended.
const COMMANDS_MAX: usize = 10_000;
const BYTES_MAX: usize = 32 << 20;

/// Looked for at once.
const LOOKS_MAX: usize = 16;

/// Between two looks for one command, when it is old.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// The commands that may not have ended.
#[derive(Debug, Default)]
pub(crate) struct Accepted(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    entries: VecDeque<Entry>,
    ids: HashSet<Id>,
    bytes: usize,
}

/// One of them, with what it takes to find it and to send it again.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) route: Arc<Route>,
    pub(crate) principal: Principal,
    pub(crate) command: queue::Command,
    due: Instant,
    pause: Duration,
    until: Instant,
}

impl Entry {
    pub(crate) fn new(route: Arc<Route>, principal: Principal, command: queue::Command, pause: Duration) -> Self {
        let now = Instant::now();
        // What was accepted is looked after even when its session has ended.
        let principal = Principal { session: None, ..principal };
        Self { route, principal, command, due: now + pause, pause, until: now + COMMAND_GOOD_FOR }
    }

    /// What it takes in memory, about.
    fn size(&self) -> usize {
        size_of::<Self>() + self.command.body.len() + self.command.seal.len()
    }

    fn later(mut self) -> Self {
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due = Instant::now() + self.pause;
        self
    }
}

impl Accepted {
    /// Remembers a command, unless it is there already: clients retry what was only accepted.
    pub(crate) fn push(&self, entry: Entry) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.ids.insert(entry.command.id) {
            return;
        }
        kept.bytes += entry.size();
        kept.entries.push_back(entry);
        while kept.entries.len() > COMMANDS_MAX || kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.entries.pop_front() else { return };
            kept.forget(&oldest);
        }
        kept.measure();
    }

    fn take_due(&self, now: Instant) -> Vec<Entry> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (later, taken): (VecDeque<_>, VecDeque<_>) = kept.entries.drain(..).partition(|entry| now < entry.due);
        kept.entries = later;
        for entry in &taken {
            kept.forget(entry);
        }
        kept.measure();
        taken.into_iter().filter(|entry| now < entry.until).collect()
    }
}

impl Kept {
    fn forget(&mut self, gone: &Entry) {
        self.ids.remove(&gone.command.id);
        self.bytes -= gone.size();
    }

    #[expect(clippy::cast_precision_loss, reason = "both are bounded, far below 2^53")]
    fn measure(&self) {
        meter::ACCEPTED.gauge(&[]).set(self.entries.len() as f64);
        meter::ACCEPTED_BYTES.gauge(&[]).set(self.bytes as f64);
    }
}

impl Gateway {
    /// Looks for them now and then, for ever, and sends again what nobody has.
    pub(crate) async fn look_after_accepted(&self) {
        loop {
            tokio::time::sleep(self.limits.look_after).await;
            let due = stream::iter(self.accepted.take_due(Instant::now()));
            due.for_each_concurrent(LOOKS_MAX, |entry| async {
                if !self.has_ended(&entry).await {
                    self.accepted.push(entry.later());
                }
            })
            .await;
        }
    }

    async fn has_ended(&self, entry: &Entry) -> bool {
        match self.locate(&entry.route, entry.command.id, &entry.principal).await {
            Ok(Found::Ended(_)) | Err(Refusal::CommandNotYours) => true,
            Ok(Found::Queued) => false,
            Ok(Found::Nowhere) => {
                tracing::warn!(method = entry.command.method, id = %entry.command.id, "an accepted command was lost and is sent again");
                let sent = self.queue.publish(entry.command.clone(), &self.queue.expect_reply()).await;
                sent.is_err() && self.is_done_by_owner(entry).await
            }
            // If only the queue is away, its owner need not wait for it: the copy in the queue will find the receipt.
            Err(_) => self.is_done_by_owner(entry).await,
        }
    }

    async fn is_done_by_owner(&self, entry: &Entry) -> bool {
        match &entry.route.owner {
            Some(owner) => deliver(owner, &entry.command, self.limits.deadline_default).await.is_ok(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event::Schema;

    use super::*;
    use crate::owner::Owner;
    use crate::routes::Routes;

    fn entry(number: usize, body: usize) -> Entry {
        let owners = [("order".to_owned(), Owner::nowhere("order"))].into();
        let routes = Routes::new(&Schema::embedded().unwrap(), &owners);
        let mut last = [0; 10];
        last[..8].copy_from_slice(&number.to_be_bytes());
        let command = queue::Command {
            method: "millrace.order.v1.OrderService/PlaceOrder".to_owned(),
            id: Id::timed(1, last),
            seal: String::new(),
            key: None,
            consistency_token: None,
            body: Bytes::from(vec![0; body]),
        };
        let route = Arc::clone(routes.of_command("order", "place-order").unwrap());
        Entry::new(route, Principal::service("gateway"), command, Duration::from_secs(1))
    }

    fn again(entry: &Entry, number: usize) -> Entry {
        let mut last = [0; 10];
        last[..8].copy_from_slice(&number.to_be_bytes());
        let command = queue::Command { id: Id::timed(1, last), ..entry.command.clone() };
        Entry { route: Arc::clone(&entry.route), principal: entry.principal.clone(), command, ..*entry }
    }

    #[tokio::test]
    async fn the_memory_is_bounded_and_the_oldest_is_forgotten_first() {
        let (accepted, first) = (Accepted::default(), entry(0, 0));
        for number in 0..COMMANDS_MAX + 5 {
            accepted.push(again(&first, number));
        }
        let kept = accepted.take_due(first.due);
        assert_eq!((kept.len(), kept[0].command.id), (COMMANDS_MAX, again(&first, 5).command.id));
        let large = entry(0, BYTES_MAX / 4);
        for number in 0..8 {
            accepted.push(again(&large, number));
        }
        assert_eq!(accepted.take_due(large.due).len(), 3, "with what surrounds them, four do not fit");
        assert_eq!(accepted.0.lock().unwrap().bytes, 0);
    }

    #[tokio::test]
    async fn a_retry_is_the_same_command() {
        let (accepted, first) = (Accepted::default(), entry(0, 0));
        accepted.push(again(&first, 1));
        accepted.push(again(&first, 1));
        assert_eq!(accepted.take_due(first.due).len(), 1);
        accepted.push(again(&first, 1));
        assert_eq!(accepted.take_due(first.due).len(), 1, "it can be kept again");
    }

    #[tokio::test]
    async fn a_command_is_looked_for_less_and_less_often_and_not_for_ever() {
        let (accepted, first) = (Accepted::default(), entry(0, 0));
        let (due, until) = (first.due, first.until);
        accepted.push(first);
        assert!(accepted.take_due(due - Duration::from_millis(1)).is_empty());
        let second = accepted.take_due(due).remove(0).later();
        assert_eq!(second.pause, Duration::from_secs(2));
        accepted.push(second);
        assert!(accepted.take_due(until).is_empty(), "its owner would refuse it now");
    }
}
