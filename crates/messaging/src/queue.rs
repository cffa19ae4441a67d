//! The gateway's side of the command queue: commands go in, and their outcomes come back over core NATS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap, HeaderName};
use bytes::Bytes;
use event::{Id, Micros, TraceContext, headers, subject};
use tracing::Instrument as _;

use crate::Broker;
use crate::feed::Feed;
use crate::inbox::Inbox;
pub use crate::inbox::{Replies, Reply};
use crate::spans;

/// Longer than a healthy broker needs by far, and short enough to leave time for the fallback. A new leader takes 2 to 7 s: not worth waiting
/// for while the owner can be called directly.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes that may wait for the broker at once; more wait for their turn.
const IN_FLIGHT_MAX: usize = 512;

/// A command as it goes into the queue.
#[derive(Clone)]
pub struct Command {
    /// The full name of its method.
    pub method: String,
    pub id: Id,
    /// The seal as text.
    pub seal: String,
    /// The id of the aggregate that it is about. None: its own.
    pub key: Option<Id>,
    /// The consistency token that the client sent. Printable ASCII.
    pub consistency_token: Option<String>,
    /// The encoded request.
    pub body: Bytes,
}

/// A command that waits in the queue.
#[derive(Clone)]
pub struct Queued {
    /// The seal as text; empty if somebody put the message there without one.
    pub seal: String,
    /// The encoded request.
    pub body: Bytes,
}

/// Requests are nobody's business but their owner's.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("method", &self.method).field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").finish_non_exhaustive()
    }
}

/// Why the queue did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A command of the same id waits already.
    #[error("a copy of the command is queued")]
    Copy,
    #[error("the queue is full")]
    Full,
    #[error("the command is larger than the broker takes")]
    TooLarge,
    /// Nothing is known: the command may have been stored.
    #[error("the broker did not answer")]
    Unreachable,
}

/// The queues of all owners, and the inbox of one gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    context: Context,
    client: Client,
    broker: Broker,
    inbox: Arc<Inbox>,
}

impl Queue {
    /// Opens the inbox. [`Replies::run`] must run for outcomes to arrive; without it commands are only ever ACCEPTED.
    pub async fn open(client: Client, broker: &Broker) -> Result<(Self, Replies), QueueError> {
        let (inbox, replies) = Inbox::open(&client).await.map_err(|_| QueueError::Unreachable)?;
        let context = ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .ack_timeout(ANSWER_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT_MAX)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok((Self { context, client, broker: broker.clone(), inbox }, replies))
    }

    /// A domain's recent events, from the same broker.
    pub fn feed(&self, domain: &str, aggregates: &[&str], since: Micros) -> Feed {
        Feed::new(self.client.clone(), &self.broker.namespace, domain, aggregates, since)
    }

    /// Where the outcome of one command will come. To be called before it is published.
    pub fn expect_reply(&self) -> Reply {
        self.inbox.expect()
    }

    /// Stores the command, unless one of the same id is queued.
    pub async fn publish(&self, command: Command, reply: &Reply) -> Result<(), QueueError> {
        let span = spans::publish_command(&self.broker, &command.method, command.id);
        let publish = self.store(command, reply.subject(), trace::of(&span));
        let result = publish.instrument(span.clone()).await;
        match result {
            Ok(()) | Err(QueueError::Copy) => {}
            Err(QueueError::Full) => trace::span::record_failure(&span, "full"),
            Err(QueueError::TooLarge) => trace::span::record_failure(&span, "too_large"),
            Err(QueueError::Unreachable) => trace::span::record_failure(&span, "unreachable"),
        }
        result
    }

    async fn store(&self, command: Command, reply_to: &str, trace: TraceContext) -> Result<(), QueueError> {
        // While it is disconnected the client would buffer the message, and send it long after we said that it failed.
        if self.client.connection_state() != State::Connected {
            return Err(QueueError::Unreachable);
        }
        let subject = subject::of_command(&self.broker.namespace, &command.method, command.id);
        // No Nats-Msg-Id: the server would answer "duplicate" and deliver nothing when a command that is done comes again. This header
        // refuses a copy only while the first waits.
        let message = PublishMessage::build()
            .headers(headers_of(&command, reply_to, trace))
            .expected_last_subject_sequence(0)
            .payload(command.body);
        let ack = self.context.send_publish(subject, message).await.map_err(|error| classify(&error))?;
        ack.await.map(drop).map_err(|error| classify(&error))
    }

    /// The command of that id, if it waits in its queue. Asks the stream's leader, because a follower may not know of it yet.
    pub async fn find(&self, method: &str, id: Id) -> Result<Option<Queued>, QueueError> {
        if self.client.connection_state() != State::Connected {
            return Err(QueueError::Unreachable);
        }
        let stream = subject::command_stream(&self.broker.namespace, subject::domain_of(method));
        let stream = self.context.get_stream_no_info(stream).await.map_err(|_| QueueError::Unreachable)?;
        let subject = subject::of_command(&self.broker.namespace, method, id);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let seal = message.headers.get(headers::SEAL).map(|value| value.as_str().to_owned());
                Ok(Some(Queued { seal: seal.unwrap_or_default(), body: message.payload }))
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                // No stream holds nothing. Its owner makes it when it starts, or makes it again when the broker lost it.
                LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(QueueError::Unreachable),
            },
        }
    }
}

fn headers_of(command: &Command, reply_to: &str, trace: TraceContext) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(HeaderName::from_static(headers::SEAL), command.seal.as_str());
    map.insert(HeaderName::from_static(headers::REPLY), reply_to);
    let optional = [
        (headers::KEY, command.key.map(|key| key.to_string())),
        (headers::CONSISTENCY_TOKEN, command.consistency_token.clone()),
        (headers::TRACEPARENT, Some(trace.traceparent).filter(|text| !text.is_empty())),
        (headers::TRACESTATE, Some(trace.tracestate).filter(|text| !text.is_empty())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    map
}

fn classify(error: &PublishError) -> QueueError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => QueueError::Copy,
        PublishErrorKind::MaxPayloadExceeded => QueueError::TooLarge,
        PublishErrorKind::Other => refusal(error),
        _ => QueueError::Unreachable,
    }
}

/// What the server said. A stream at its limits is refused with the code of every failure to store; only the words tell that it is full.
fn refusal(error: &PublishError) -> QueueError {
    let refusal = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match refusal.map(|refusal| (refusal.error_code(), refusal.to_string())) {
        Some((ErrorCode::STREAM_STORE_FAILED, words)) if words.contains("maximum") => QueueError::Full,
        Some((ErrorCode::STREAM_TOO_MANY_REQUESTS | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED, _)) => QueueError::Full,
        Some((ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, _)) => QueueError::TooLarge,
        _ => QueueError::Unreachable,
    }
}
