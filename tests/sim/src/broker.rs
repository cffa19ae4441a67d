//! A broker as JetStream is one, as far as a service can tell: streams with consumers, at least once, in an order that is not promised. The
//! conformance tests hold it to the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use event::Micros;

/// What was not acknowledged by then is brought again.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long a message's id is remembered.
pub const IDS_KEPT: Duration = Duration::from_mins(2);
/// What was acknowledged is written a moment later. The server takes a tenth of this, where nothing else is to be done.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// All streams. A clone is a copy of its disk.
#[derive(Clone, Debug, Default)]
pub struct Broker {
    streams: BTreeMap<String, Stream>,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keeps what is published, for everybody.
    Events,
    /// Keeps what is published until it is acknowledged, and one message of each subject at most.
    Queue,
}

#[derive(Clone, Debug)]
struct Stream {
    kind: Kind,
    messages: BTreeMap<u64, Message>,
    last: u64,
    ids: BTreeMap<String, Known>,
    consumers: BTreeMap<String, Consumer>,
}

/// The message that an id was stored with.
#[derive(Clone, Copy, Debug)]
struct Known {
    sequence: u64,
    since: Micros,
}

#[derive(Clone, Debug, Default)]
struct Consumer {
    /// Everything up to here was brought at least once.
    brought: u64,
    pending: BTreeMap<u64, Pending>,
    written: Option<Written>,
}

/// What the disk may have of a consumer.
#[derive(Clone, Debug)]
struct Written {
    since: Micros,
    consumer: Box<Consumer>,
    /// What has left the queue since.
    removed: BTreeMap<u64, Message>,
}

impl Consumer {
    /// To be called before anything about it changes.
    fn changes(&mut self, now: Micros) {
        if self.written.as_ref().is_none_or(|written| now.since(written.since) > UNWRITTEN) {
            self.written = None;
            self.written = Some(Written { since: now, consumer: Box::new(self.clone()), removed: BTreeMap::new() });
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    times: u32,
    due: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub headers: Vec<(&'static str, String)>,
    pub payload: Bytes,
}

/// A message on its way to a consumer.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub stream: String,
    pub consumer: String,
    pub sequence: u64,
    pub times: u32,
    pub message: Message,
}

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NoStream,
    /// One of the same subject waits.
    Copy,
}

impl Broker {
    /// Makes a stream, if it is not there.
    pub fn ensure(&mut self, name: &str, kind: Kind) {
        let empty =
            || Stream { kind, messages: BTreeMap::new(), last: 0, ids: BTreeMap::new(), consumers: BTreeMap::new() };
        self.streams.entry(name.to_owned()).or_insert_with(empty);
    }

    /// Stores a message. One with the id of an earlier one is not stored again, whatever is in it, as long as that is remembered.
    pub fn publish(&mut self, stream: &str, id: Option<&str>, message: Message, now: Micros) -> Result<(), Refused> {
        let stream = self.streams.get_mut(stream).ok_or(Refused::NoStream)?;
        stream.ids.retain(|_, known| now.since(known.since) < IDS_KEPT);
        if id.is_some_and(|id| stream.ids.contains_key(id)) {
            return Ok(());
        }
        if stream.kind == Kind::Queue && stream.messages.values().any(|queued| queued.subject == message.subject) {
            return Err(Refused::Copy);
        }
        stream.last += 1;
        stream.messages.insert(stream.last, message);
        stream.ids.extend(id.map(|id| (id.to_owned(), Known { sequence: stream.last, since: now })));
        Ok(())
    }

    pub fn newest(&self, stream: &str) -> Result<Option<&Message>, Refused> {
        Ok(self.streams.get(stream).ok_or(Refused::NoStream)?.messages.values().next_back())
    }

    /// Throws away what is on a stream. Its sequence goes on.
    pub fn purge(&mut self, stream: &str) -> Result<(), Refused> {
        self.streams.get_mut(stream).ok_or(Refused::NoStream)?.messages.clear();
        Ok(())
    }

    /// What can be brought to a consumer of subjects that begin so: what is due again, and the next that it has not seen.
    pub fn available(&self, stream: &str, consumer: &str, subjects: &[String], now: Micros) -> Vec<u64> {
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let new = Consumer::default();
        let consumer = stream.consumers.get(consumer).unwrap_or(&new);
        let due = consumer.pending.iter().filter(|(_, pending)| pending.due <= now).map(|(sequence, _)| *sequence);
        let wanted = |message: &Message| subjects.iter().any(|prefix| message.subject.starts_with(prefix));
        let unseen = stream.messages.range(consumer.brought + 1..).find(|(_, message)| wanted(message));
        due.filter(|sequence| stream.messages.contains_key(sequence))
            .chain(unseen.map(|(sequence, _)| *sequence))
            .collect()
    }

    /// Brings a message to a consumer, which is made if it is not there.
    pub fn bring(&mut self, stream: &str, consumer: &str, sequence: u64, now: Micros) -> Option<Delivered> {
        let (name, of) = (stream, self.streams.get_mut(stream)?);
        let message = of.messages.get(&sequence)?.clone();
        let held = of.consumers.entry(consumer.to_owned()).or_default();
        held.changes(now);
        held.brought = held.brought.max(sequence);
        let pending = held.pending.entry(sequence).or_insert(Pending { times: 0, due: now });
        *pending = Pending { times: pending.times + 1, due: now.plus(ACK_WAIT) };
        let times = pending.times;
        Some(Delivered { stream: name.to_owned(), consumer: consumer.to_owned(), sequence, times, message })
    }

    /// Acknowledges what has this sequence now, whatever was brought under it: so the server does, too.
    pub fn acknowledge(&mut self, stream: &str, consumer: &str, sequence: u64, now: Micros) {
        let Some(stream) = self.streams.get_mut(stream) else { return };
        let Some(held) = stream.consumers.get_mut(consumer) else { return };
        held.changes(now);
        if held.pending.remove(&sequence).is_some() && stream.kind == Kind::Queue {
            let removed = stream.messages.remove_entry(&sequence);
            held.written.iter_mut().for_each(|written| written.removed.extend(removed.clone()));
        }
    }

    /// Has a message brought again after a delay.
    pub fn give_back(&mut self, stream: &str, consumer: &str, sequence: u64, due: Micros) {
        let held = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(consumer));
        if let Some(pending) = held.and_then(|held| held.pending.get_mut(&sequence)) {
            pending.due = due;
        }
    }

    /// Loses a message, as a broker does whose disk is damaged.
    pub fn lose(&mut self, stream: &str, nth: usize) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        let Some(sequence) = stream.messages.keys().nth(nth).copied() else { return false };
        stream.messages.remove(&sequence).is_some()
    }

    /// Loses the message that has this sequence.
    pub fn delete(&mut self, stream: &str, sequence: u64) -> bool {
        self.streams.get_mut(stream).is_some_and(|stream| stream.messages.remove(&sequence).is_some())
    }

    /// How many messages were brought to somebody, and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        let consumers = self.streams.values().flat_map(|stream| stream.consumers.values());
        consumers.map(|consumer| consumer.pending.len()).sum()
    }

    /// Forgets how far consumers are.
    pub fn reset_consumers(&mut self) {
        for stream in self.streams.values_mut() {
            stream.consumers.clear();
        }
    }

    /// The process ends where it is. What was brought and acknowledged a moment ago is forgotten: it is brought again as if it were the
    /// first time.
    pub fn crash(&mut self, now: Micros) {
        for stream in self.streams.values_mut() {
            for held in stream.consumers.values_mut() {
                if let Some(written) = held.written.take_if(|written| now.since(written.since) <= UNWRITTEN) {
                    *held = *written.consumer;
                    stream.messages.extend(written.removed);
                }
            }
        }
    }

    /// Another process begins on the same disk. What was under way is brought again when it would have been, and the ids are known of what
    /// is still there.
    pub fn restart(&mut self) {
        for stream in self.streams.values_mut() {
            stream.ids.retain(|_, known| stream.messages.contains_key(&known.sequence));
        }
    }

    /// The subjects of all that waits in queues.
    pub fn queued(&self) -> BTreeSet<String> {
        let queues = self.streams.values().filter(|stream| stream.kind == Kind::Queue);
        queues.flat_map(|queue| queue.messages.values()).map(|message| message.subject.clone()).collect()
    }

    pub fn streams(&self) -> impl Iterator<Item = (&str, Kind, usize)> {
        self.streams.iter().map(|(name, stream)| (&**name, stream.kind, stream.messages.len()))
    }
}
