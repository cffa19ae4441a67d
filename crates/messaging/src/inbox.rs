//! The outcomes of commands, as their owners send them over core NATS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::client::SubscribeError;
use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use proto::Message as _;
use proto::command::v1::DeliverResponse;
use tokio::sync::oneshot;

/// Takes what arrives in the inbox to those who wait for it.
#[derive(Debug)]
pub struct Replies {
    subscription: Subscriber,
    inbox: Arc<Inbox>,
}

impl Replies {
    /// Runs until the connection is closed for good.
    pub async fn run(mut self) {
        while let Some(message) = self.subscription.next().await {
            match DeliverResponse::decode(message.payload) {
                Ok(outcome) => self.inbox.hand_over(&message.subject, outcome),
                Err(error) => tracing::warn!(%error, "a reply to a command cannot be decoded"),
            }
        }
    }
}

/// The outcome of one command, as its owner sends it. It may never come: the owner may be down, and a reply may get lost.
#[derive(Debug)]
pub struct Reply {
    subject: String,
    number: u64,
    receiver: oneshot::Receiver<DeliverResponse>,
    inbox: Arc<Inbox>,
}

impl Reply {
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Waits for the outcome; for ever, if it does not come.
    pub async fn outcome(&mut self) -> DeliverResponse {
        match (&mut self.receiver).await {
            Ok(outcome) => outcome,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.inbox.waiting().remove(&self.number);
    }
}

/// Where the outcomes of one gateway's commands come.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Drawn by chance, and long enough that nobody guesses it.
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<DeliverResponse>>>,
}

impl Inbox {
    pub(crate) async fn open(client: &Client) -> Result<(Arc<Self>, Replies), SubscribeError> {
        let inbox = Arc::new(Self { prefix: client.new_inbox(), ..Self::default() });
        let subscription = client.subscribe(format!("{}.*", inbox.prefix)).await?;
        Ok((Arc::clone(&inbox), Replies { subscription, inbox }))
    }

    pub(crate) fn expect(self: &Arc<Self>) -> Reply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(number, sender);
        Reply { subject: format!("{}.{number}", self.prefix), number, receiver, inbox: Arc::clone(self) }
    }

    /// A late reply finds nobody, and is dropped.
    fn hand_over(&self, subject: &str, outcome: DeliverResponse) {
        let number = subject.rsplit('.').next().and_then(|number| number.parse().ok());
        if let Some(waiting) = number.and_then(|number: u64| self.waiting().remove(&number)) {
            // Who waited may have given up just now.
            let _ = waiting.send(outcome);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<DeliverResponse>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
