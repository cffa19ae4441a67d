//! Commands: sealed, stored, and answered with their outcome, or with a receipt that says ACCEPTED.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Access, Delivery, Id, Method, subject};
use identity::seal;
use messaging::queue::{self, QueueError, Reply};
use prost_reflect::DynamicMessage;
use proto::Message as _;
use proto::command::v1::{DeliverRequest, DeliverResponse};
use tokio::time::Instant;
use tracing::Span;

use crate::accepted::Entry;
use crate::call::Call;
use crate::edge::Gateway;
use crate::error::Refusal;
use crate::locate::Found;
use crate::owner::{Onward, Owner};
use crate::seals::Stated;
use crate::{answer, ids, validate};

/// Attempts to store a command whose copy was queued, and gone when we looked.
const STORE_ATTEMPTS: usize = 3;

/// What is left of the deadline when ACCEPTED is answered, so that it is answered.
const ACCEPT_MARGIN: Duration = Duration::from_millis(20);

/// Which copy of a command is in the queue.
enum Stored {
    /// The one that was just sent.
    New,
    /// An equal one that was sent before.
    Before,
}

/// A command that is ready to go.
struct Sealed {
    /// As receipts have it.
    name: String,
    command: queue::Command,
}

impl Gateway {
    /// Carries a command to its owner, one way or another.
    pub(crate) async fn command(
        &self,
        call: &Call,
        owner: &Owner,
        request: &DynamicMessage,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        let sealed = self.seal(call, &owner.domain, request, body)?;
        match call.route.method.delivery {
            Delivery::Direct => {
                answer::ended(&sealed.name, deliver(owner, &sealed.command, call.deadline.left()).await?)
            }
            Delivery::Durable => self.enqueue(call, owner, &sealed).await,
        }
    }

    fn seal(&self, call: &Call, owner: &str, request: &DynamicMessage, body: Bytes) -> Result<Sealed, Refusal> {
        let method = &call.route.method;
        let anonymous = method.access == Access::Anonymous;
        let key = key_in(method, request)?;
        let id = match &call.idempotency_key {
            Some(key) if !anonymous => ids::command_id(&call.principal.name(), &method.name, key),
            _ => Id::timed((self.now)().unix_ms(), (self.chance)()),
        };
        trace::span::record_command(&Span::current(), id);
        let stated = Stated { principal: &call.principal, method: &method.name, id, anonymous, body: &body };
        let seal = self.seals.command(owner, &stated)?;
        let command = queue::Command {
            method: method.name.clone(),
            id,
            seal: seal::to_text(&seal),
            key,
            consistency_token: call.consistency_token.clone(),
            body,
        };
        Ok(Sealed { name: subject::command_name(owner, &method.name, id), command })
    }

    /// Stores the command and waits a moment for its outcome. While the broker is away, the owner is called instead: under the same id, so
    /// that it has one effect even if the broker stored it after all.
    async fn enqueue(&self, call: &Call, owner: &Owner, sealed: &Sealed) -> Result<Bytes, Refusal> {
        let until = (call.deadline.at() - ACCEPT_MARGIN).min(Instant::now() + self.limits.answer_wait);
        let mut reply = self.queue.expect_reply();
        match self.store(&sealed.command, &reply).await {
            Ok(Stored::New) => match tokio::time::timeout_at(until, reply.outcome()).await {
                Ok(outcome) => answer::ended(&sealed.name, outcome),
                Err(_) => Ok(self.accept(call, sealed)),
            },
            Ok(Stored::Before) => self.join(call, owner, sealed, until).await,
            Err(Refusal::IdempotencyKeyReused) => self.judge_reuse(call, owner, sealed).await,
            Err(Refusal::Unavailable) => {
                meter::FALLBACKS.counter(&[]).increment(1);
                let outcome = tokio::select! { biased;
                    // The broker may have stored it, and only its acknowledgement is missing.
                    outcome = reply.outcome() => outcome,
                    outcome = deliver(owner, &sealed.command, call.deadline.left()) => outcome?,
                };
                answer::ended(&sealed.name, outcome)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Fails with UNAVAILABLE if the broker cannot be reached.
    async fn store(&self, command: &queue::Command, reply: &Reply) -> Result<Stored, Refusal> {
        for _ in 0..STORE_ATTEMPTS {
            let mut is_full = false;
            match self.queue.publish(command.clone(), reply).await {
                Ok(()) => {
                    fault::reach(fault::Point::GatewayQueued).await;
                    return Ok(Stored::New);
                }
                // Ours may be one of those that fill it.
                Err(QueueError::Full) => is_full = true,
                Err(QueueError::TooLarge) => {
                    return Err(Refusal::MessageTooLarge { limit: self.limits.message_len_max });
                }
                Err(QueueError::Unreachable) => return Err(Refusal::Unavailable),
                Err(QueueError::Copy) => {}
            }
            // The copy may be done, and gone, by now; then ours goes in, and the owner answers it from its receipt.
            let copy = self.queue.find(&command.method, command.id).await.map_err(|_| Refusal::Unavailable)?;
            if let Some(copy) = copy {
                return self.compare(command, &copy);
            }
            if is_full {
                return Err(Refusal::QueueFull);
            }
        }
        Err(Refusal::Unavailable)
    }

    fn compare(&self, command: &queue::Command, copy: &queue::Queued) -> Result<Stored, Refusal> {
        let owner = subject::domain_of(&command.method);
        let stated = self.seals.read(owner, &copy.seal, &command.method, &copy.body);
        match stated {
            Some(stated) if stated.request_hash == seal::request_hash(&command.body) => Ok(Stored::Before),
            Some(_) => Err(Refusal::IdempotencyKeyReused),
            // Nobody's command: its owner will throw it away. Ours goes past it.
            None => Err(Refusal::Unavailable),
        }
    }

    /// Waits for the outcome of a copy, whose reply goes to whoever sent it.
    async fn join(&self, call: &Call, owner: &Owner, sealed: &Sealed, until: Instant) -> Result<Bytes, Refusal> {
        let ended = self.wait_for(&call.route, sealed.command.id, &call.principal);
        match tokio::time::timeout_at(until, ended).await {
            Ok(Ok(Found::Ended(_))) => self.compare_with_receipt(call, owner, sealed).await,
            // It was queued a moment ago: whatever cannot be learnt now, it is accepted.
            _ => Ok(self.accept(call, sealed)),
        }
    }

    /// The copy in the queue asks for something else. If the command has ended before that was queued, ours may be what the key was first used
    /// for, and the copy what will be refused.
    async fn judge_reuse(&self, call: &Call, owner: &Owner, sealed: &Sealed) -> Result<Bytes, Refusal> {
        match self.receipt(&call.route, sealed.command.id, &call.principal).await {
            Ok(Some(_)) => self.compare_with_receipt(call, owner, sealed).await,
            Ok(None) => Err(Refusal::IdempotencyKeyReused),
            // Nobody can say now which of them was first.
            Err(Refusal::Unavailable) => Err(Refusal::CommandUnavailable),
            Err(refusal) => Err(refusal),
        }
    }

    /// What a command came to that has ended, if it asked for the same: only its owner knows what it asked for, and compares.
    async fn compare_with_receipt(&self, call: &Call, owner: &Owner, sealed: &Sealed) -> Result<Bytes, Refusal> {
        answer::ended(&sealed.name, deliver(owner, &sealed.command, call.deadline.left()).await?)
    }

    fn accept(&self, call: &Call, sealed: &Sealed) -> Bytes {
        let (route, principal) = (Arc::clone(&call.route), call.principal.clone());
        self.accepted.push(Entry::new(route, principal, sealed.command.clone(), self.limits.look_after));
        answer::accepted(&sealed.name)
    }
}

/// Calls the owner of a command, past the queue: the same lanes, the same handler, and one effect however it comes.
pub(crate) async fn deliver(
    owner: &Owner,
    command: &queue::Command,
    within: Duration,
) -> Result<DeliverResponse, Refusal> {
    let seal = seal::from_text(&command.seal).map_err(|_| Refusal::Internal)?;
    let request = DeliverRequest {
        method: command.method.clone(),
        seal: seal.encode_to_vec().into(),
        key: command.key.map(|key| key.to_string()).unwrap_or_default(),
        body: command.body.clone(),
    };
    let onward =
        Onward { seal: String::new(), consistency_token: command.consistency_token.clone(), within: Some(within) };
    owner.deliver(onward, &request).await.map_err(|status| match Refusal::from_owner(status) {
        Refusal::Unavailable => Refusal::CommandUnavailable,
        refusal => refusal,
    })
}

/// The aggregate that the command is about; none, if it is its own.
fn key_in(method: &Method, request: &DynamicMessage) -> Result<Option<Id>, Refusal> {
    let key = method.key_in(request);
    if key.is_empty() {
        return Ok(None);
    }
    let not_an_id = |_| validate::violation(method.key.clone(), "must be an id".to_owned());
    key.parse().map(Some).map_err(|error| Refusal::InvalidFields(vec![not_an_id(error)]))
}
