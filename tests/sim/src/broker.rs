//! A broker as JetStream is one, as far as a service can tell: streams with consumers, at least once, in an order that is not promised. The
//! conformance tests hold it to the real one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use event::Micros;

/// What was not acknowledged by then is brought again.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long a message's id is remembered.
pub const IDS_KEPT: Duration = Duration::from_mins(2);

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
    ids: BTreeMap<String, Micros>,
    consumers: BTreeMap<String, Consumer>,
}

#[derive(Clone, Debug, Default)]
struct Consumer {
    /// Everything up to here was brought at least once.
    brought: u64,
    pending: BTreeMap<u64, Pending>,
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
        stream.ids.retain(|_, since| now.since(*since) < IDS_KEPT);
        if id.is_some_and(|id| stream.ids.contains_key(id)) {
            return Ok(());
        }
        if stream.kind == Kind::Queue && stream.messages.values().any(|queued| queued.subject == message.subject) {
            return Err(Refused::Copy);
        }
        stream.last += 1;
        stream.messages.insert(stream.last, message);
        stream.ids.extend(id.map(|id| (id.to_owned(), now)));
        Ok(())
    }

    pub fn newest(&self, stream: &str) -> Result<Option<&Message>, Refused> {
        Ok(self.streams.get(stream).ok_or(Refused::NoStream)?.messages.values().next_back())
    }

    /// Throws away what is on a stream. Its sequence goes on.
    pub fn purge(&mut self, stream: &str) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.messages.clear();
        }
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
        held.brought = held.brought.max(sequence);
        let pending = held.pending.entry(sequence).or_insert(Pending { times: 0, due: now });
        *pending = Pending { times: pending.times + 1, due: now.plus(ACK_WAIT) };
        let times = pending.times;
        Some(Delivered { stream: name.to_owned(), consumer: consumer.to_owned(), sequence, times, message })
    }

    /// Acknowledges what has this sequence now, whatever was brought under it: so the server does, too.
    pub fn acknowledge(&mut self, stream: &str, consumer: &str, sequence: u64) {
        let Some(stream) = self.streams.get_mut(stream) else { return };
        let Some(held) = stream.consumers.get_mut(consumer) else { return };
        if held.pending.remove(&sequence).is_some() && stream.kind == Kind::Queue {
            stream.messages.remove(&sequence);
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

    /// Forgets how far consumers are.
    pub fn reset_consumers(&mut self) {
        for stream in self.streams.values_mut() {
            stream.consumers.clear();
        }
    }

    /// The process ended, and another one begins on the same disk: what was under way is brought again.
    pub fn restart(&mut self) {
        for stream in self.streams.values_mut() {
            stream.ids.clear();
            for pending in stream.consumers.values_mut().flat_map(|held| held.pending.values_mut()) {
                pending.due = Micros(0);
            }
        }
    }

    pub fn streams(&self) -> impl Iterator<Item = (&str, Kind, usize)> {
        self.streams.iter().map(|(name, stream)| (&**name, stream.kind, stream.messages.len()))
    }
}
