//! The way to the broker, on which things get lost.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::{Record, headers, subject};
use fault::{Point, reach};
use messaging::{Brought, StreamError, Wire};
use prost::Message as _;
use proto::command::v1::DeliverResponse;

use crate::broker::{Delivered, Kind, Message, Refused};
use crate::fault::Fault;
use crate::sim::{NAMESPACE, Sim};

/// A service's connection to the simulated broker.
pub struct SimulatedWire(pub Sim);

impl std::fmt::Debug for SimulatedWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedWire")
    }
}

fn away() -> StreamError {
    StreamError::new("the broker is away")
}

fn refused(refused: Refused) -> StreamError {
    StreamError::new(format!("{refused:?}"))
}

/// An event as the broker keeps it.
pub fn message_of(record: &Record) -> Message {
    Message {
        subject: subject::of_event(NAMESPACE, record),
        headers: headers::of(record),
        payload: record.body.clone(),
    }
}

/// Where the subjects begin of what a subscription to a domain's aggregates hears.
pub fn subjects_of(domain: &str, aggregates: &[&str]) -> Vec<String> {
    let prefix =
        |aggregate: &&str| subject::of_aggregate(NAMESPACE, domain, aggregate).trim_end_matches('>').to_owned();
    aggregates.iter().map(prefix).collect()
}

/// The event in a message.
pub fn record_in(message: &Message) -> Result<Record, headers::InvalidHeaders> {
    headers::read(|name| header(message, name), message.payload.clone())
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| &**value)
}

#[async_trait]
impl Wire for SimulatedWire {
    fn is_connected(&self) -> bool {
        !self.0.wired().is_away
    }

    fn connections(&self) -> u64 {
        self.0.wired().connections
    }

    async fn ensure_events(&self, domain: &str) -> Result<(), StreamError> {
        self.0.way().await;
        if !self.is_connected() {
            return Err(away());
        }
        self.0.wired().broker.ensure(&subject::event_stream(NAMESPACE, domain), Kind::Events);
        Ok(())
    }

    async fn newest(&self, domain: &str) -> Result<Option<Result<Record, headers::InvalidHeaders>>, StreamError> {
        self.0.way().await;
        if !self.is_connected() {
            return Err(away());
        }
        let wired = self.0.wired();
        let newest = wired.broker.newest(&subject::event_stream(NAMESPACE, domain)).map_err(refused)?;
        Ok(newest.map(record_in))
    }

    async fn purge_events(&self, domain: &str) -> Result<(), StreamError> {
        self.0.way().await;
        if !self.is_connected() {
            return Err(away());
        }
        self.0.wired().broker.purge(&subject::event_stream(NAMESPACE, domain)).map_err(refused)
    }

    async fn publish(&self, record: Record) -> Result<(), StreamError> {
        let lost = self.0.strikes(Fault::PublicationLost, 20);
        self.0.way().await;
        if lost || !self.is_connected() {
            return Err(away());
        }
        let (stream, id) =
            (subject::event_stream(NAMESPACE, subject::domain_of(&record.type_name)), record.id.to_string());
        let stored = self.0.wired().broker.publish(&stream, Some(&id), message_of(&record), self.0.now());
        reach(Point::RelaySent).await;
        let unanswered = self.0.strikes(Fault::PublicationUnanswered, 20);
        self.0.way().await;
        if unanswered { Err(away()) } else { stored.map_err(refused) }
    }

    async fn reply(&self, to: String, outcome: Bytes) {
        if self.0.strikes(Fault::AnswerLost, 10) || !self.is_connected() {
            return;
        }
        self.0.way().await;
        let waiting = self.0.replies().remove(&to);
        if let (Some(waiting), Ok(outcome)) = (waiting, DeliverResponse::decode(outcome)) {
            // Whoever waited may have given up.
            let _ = waiting.send(outcome);
        }
    }
}

/// A message that the simulated broker brought.
pub struct SimulatedMessage {
    pub sim: Sim,
    pub delivered: Delivered,
}

impl std::fmt::Debug for SimulatedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.delivered.stream, self.delivered.sequence)
    }
}

#[async_trait]
impl Brought for SimulatedMessage {
    fn subject(&self) -> &str {
        &self.delivered.message.subject
    }

    fn header(&self, name: &'static str) -> Option<&str> {
        header(&self.delivered.message, name)
    }

    fn payload(&self) -> Bytes {
        self.delivered.message.payload.clone()
    }

    fn origin(&self) -> Option<(&str, u64, u32)> {
        Some((&self.delivered.stream, self.delivered.sequence, self.delivered.times))
    }

    async fn settle(&self, again: Option<Duration>) {
        let lost = self.sim.strikes(Fault::AcknowledgementLost, 15);
        self.sim.way().await;
        if lost || self.sim.wired().is_away {
            return;
        }
        let Delivered { stream, consumer, sequence, .. } = &self.delivered;
        let now = self.sim.now();
        let broker = &mut self.sim.wired().broker;
        match again {
            Some(delay) => broker.give_back(stream, consumer, *sequence, now.plus(delay)),
            None => broker.acknowledge(stream, consumer, *sequence, now),
        }
    }
}
