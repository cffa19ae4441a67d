//! What comes to a ledger, and what becomes of it. There is one kind of delivery for a command, an event, an effect's answer and a
//! timer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Id, Key, Micros, Record};
use proto::rpc;
use tracing::Span;

use crate::error::Rejection;
use crate::timer::DueTimer;

/// Something to be taken in, once.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub input: Input,
    /// How often the broker has delivered it; 0 or 1 for the first time. From the third time on it is done alone, and counted before it
    /// is begun: it may be what killed the process.
    pub delivered: u32,
    /// In which the handler runs.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Input {
    Command(Box<Command>),
    Event(EventDelivery),
    Answer(Answer),
    Timer(DueTimer),
}

impl From<Command> for Input {
    fn from(command: Command) -> Self {
        Self::Command(Box::new(command))
    }
}

/// A command whose seal was verified.
#[derive(Clone, Debug)]
pub struct Command {
    /// The full name of the method.
    pub method: String,
    pub id: Id,
    /// The aggregate that it is about.
    pub target: Id,
    pub caller: Caller,
    /// SHA-256 of the request, from the seal.
    pub request_hash: [u8; 32],
    pub body: Bytes,
    /// When it must have begun.
    pub not_after: Micros,
    /// Anybody may call it: it keeps no receipt.
    pub anonymous: bool,
    /// It was already found to be refused (its session had ended when it was accepted). Remembered, unless it was done before.
    pub refused: Option<Rejection>,
    /// What the handler's slow step found out, outside the lane.
    pub prepared: Option<Prepared>,
}

/// What a `prepare` step hands to its handler.
pub type Prepared = Arc<dyn Any + Send + Sync>;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `user/<id>` or `service/<name>`.
    pub name: String,
    pub user: Option<Id>,
    pub session: Option<Id>,
    pub roles: Vec<String>,
}

/// An event for a subscription.
#[derive(Clone, Debug)]
pub struct EventDelivery {
    /// The subscription's name.
    pub subscription: &'static str,
    pub record: Arc<Record>,
    pub means: Means,
}

/// How an event came, which decides what a missing or failed predecessor means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// From the stream, for the first time: what is missing may be right behind it.
    Stream,
    /// From the stream, and what is missing did not follow in time.
    StreamLate,
    /// Read from the owner's log, for a key that waits, while that was of this epoch. `absent`: what the handler waited for, its owner has
    /// lacked for so long that the handler must do without, and say so.
    Log { epoch: i64, absent: bool },
}

/// What the world answered to an effect.
#[derive(Clone, Debug)]
pub struct Answer {
    pub key: Key,
    pub kind: &'static str,
    pub n: i64,
    pub body: Bytes,
    /// The event with which it was wished.
    pub wish: Option<Arc<Record>>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A command has ended, now or earlier.
    Ended(Ended),
    /// An event, an answer or a timer was taken in.
    Applied,
    /// The handler does not care for events of this type, or an operator has dropped it; the cursor has moved.
    Skipped,
    /// It was taken in before.
    Duplicate,
    /// It is not of the log that is followed. Dropped.
    Stranger,
    /// Its key waits or is parked; it was noted, and will be read from the owner's log.
    Noted,
    /// A revision is missing. Nothing was changed: bring it again as [`Means::StreamLate`] when the stream had time to bring what is
    /// missing.
    Gap,
    /// It cannot be judged yet. Nothing was changed: bring it again after the delay.
    GivenBack { delay: Duration, reason: String },
}

impl Outcome {
    /// In one word, for traces.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ended(ended) => ended.result.name(),
            Self::Applied => "applied",
            Self::Skipped => "skipped",
            Self::Duplicate => "duplicate",
            Self::Stranger => "stranger",
            Self::Noted => "noted",
            Self::Gap => "gap",
            Self::GivenBack { .. } => "given_back",
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub result: CommandResult,
    pub token: String,
    /// It had ended before; this is what came of it then.
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CommandResult {
    /// The encoded response, without a receipt. Empty if its bytes are no longer kept.
    Completed(Bytes),
    Rejected(rpc::Status),
    Failed(rpc::Status),
    /// Another request came under this command's id before. What became of that one stands, and is none of this one's business.
    KeyReused(rpc::Status),
}

impl CommandResult {
    const fn name(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Rejected(_) | Self::KeyReused(_) => "rejected",
            Self::Failed(_) => "failed",
        }
    }
}

impl Delivery {
    /// What deals it to a lane: the id of its target aggregate. The command, the events and the answers about one order meet in one lane.
    pub fn lane_id(&self) -> Id {
        match &self.input {
            Input::Command(command) => command.target,
            Input::Event(event) => event.record.key.id(),
            Input::Answer(answer) => answer.key.id(),
            Input::Timer(timer) => timer.key.id(),
        }
    }
}
