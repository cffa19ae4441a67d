//! Commands that were answered ACCEPTED, looked after until they end. If a broker's disk is lost with what was queued, this memory is what
//! is left of them; if both are lost, `locate` says UNKNOWN.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use identity::Principal;
use messaging::queue;
use tokio::time::Instant;

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
pub(crate) struct Accepted(Mutex<VecDeque<Entry>>);

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

    fn later(mut self) -> Self {
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due = Instant::now() + self.pause;
        self
    }
}

impl Accepted {
    pub(crate) fn push(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_back(entry);
        let mut bytes: usize = entries.iter().map(|entry| entry.command.body.len()).sum();
        while entries.len() > COMMANDS_MAX || bytes > BYTES_MAX {
            bytes -= entries.pop_front().map_or(bytes, |oldest| oldest.command.body.len());
        }
    }

    fn take_due(&self, now: Instant) -> Vec<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = entries.drain(..).filter(|entry| now < entry.until).partition(|entry| entry.due <= now);
        *entries = rest;
        Vec::from(due)
    }
}

impl Gateway {
    /// Looks for them now and then, for ever, and sends again what nobody has.
    pub(crate) async fn look_after_accepted(&self) {
        loop {
            tokio::time::sleep(self.limits.look_after).await;
            let due = stream::iter(self.accepted.take_due(Instant::now()));
            due.for_each_concurrent(LOOKS_MAX, |entry| async {
                if let Some(entry) = self.look_after(entry).await {
                    self.accepted.push(entry);
                }
            })
            .await;
        }
    }

    /// The command, if it has not ended.
    async fn look_after(&self, entry: Entry) -> Option<Entry> {
        match self.locate(&entry.route, entry.command.id, &entry.principal).await {
            Ok(Found::Ended(_)) | Err(Refusal::CommandNotYours) => None,
            Ok(Found::Nowhere) => {
                let sent = self.queue.publish(entry.command.clone(), &self.queue.expect_reply()).await;
                tracing::warn!(method = entry.command.method, id = %entry.command.id, ?sent, "an accepted command was lost and is sent again");
                Some(entry.later())
            }
            Ok(Found::Queued) | Err(_) => Some(entry.later()),
        }
    }
}
