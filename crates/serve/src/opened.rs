//! A service with its database open: the same for whoever drives it, be it the broker's loops or a test.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use event::{Kind, Micros, Schema};
use futures::stream::BoxStream;
use identity::session::Sessions;
use ledger::{
    Caller, Chance, Clock, Command, Database, Delivery, Error, Ledger, OpenError, Parts, Reader, Rejection, Result,
    Retry,
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::intake::check_session;
use crate::service::{QueryFn, Service, StreamFn};
use crate::watch::{Bell, Watch};

/// A service that can take deliveries in and answer queries.
pub struct Opened {
    pub ledger: Ledger,
    pub name: &'static str,
    pub schema: Arc<Schema>,
    /// It keeps a replica of sessions.
    pub has_sessions: bool,
    sessions: Arc<Sessions>,
    /// The full names of its commands, by their kebab names.
    commands: HashMap<String, String>,
    queries: HashMap<String, QueryFn>,
    streams: HashMap<String, StreamFn>,
    at_start: Vec<(String, Bytes)>,
}

impl Service {
    /// Opens the service's database and brings its schema up to date.
    pub async fn database(&mut self, url: &str) -> Result<Database, OpenError> {
        Database::open(url, std::mem::take(&mut self.tables)).await
    }

    /// Opens the service on its [`database`](Self::database).
    pub async fn open(self, db: Database, clock: Clock, chance: Chance, retry: Retry) -> Result<Opened> {
        let Self { name, schema, handlers, queries, streams, state, has_sessions, at_start, tables: _ } = self;
        let parts = Parts { db, handlers, schema: schema.clone(), name: name.to_owned(), clock, chance, state, retry };
        let ledger = Ledger::open(parts).await?;
        let own = schema.methods().filter(|method| method.domain == name && method.kind == Kind::Command);
        let commands = own.map(|method| (method.kebab.clone(), method.name.clone())).collect();
        let sessions = Arc::default();
        Ok(Opened { ledger, name, schema, has_sessions, sessions, commands, queries, streams, at_start })
    }
}

impl Opened {
    /// The commands that it gives itself whenever it starts. To be taken in before anything else.
    pub fn at_start(&self, now: Micros) -> Vec<Delivery> {
        self.at_start.iter().map(|(method, body)| self.own_command(method, body, now)).collect()
    }

    fn own_command(&self, method: &str, body: &Bytes, now: Micros) -> Delivery {
        let id = self.ledger.chance().id(now);
        let command = Command {
            method: method.to_owned(),
            id,
            target: id,
            caller: Caller { name: format!("service/{}", self.name), ..Caller::default() },
            request_hash: [0; 32],
            body: body.clone(),
            not_after: Micros(i64::MAX),
            // It keeps no receipt: the next start gives it anew.
            anonymous: true,
            refused: None,
            prepared: None,
        };
        Delivery { input: command.into(), delivered: 0, span: Span::current() }
    }

    /// The full name of the command with this kebab name.
    pub(crate) fn command_named(&self, kebab: &str) -> Option<&str> {
        self.commands.get(kebab).map(String::as_str)
    }

    /// Whether it answers this query.
    pub fn answers(&self, method: &str) -> bool {
        self.queries.contains_key(method)
    }

    /// Whether it answers this query again and again.
    pub fn streams(&self, method: &str) -> bool {
        self.streams.contains_key(method)
    }

    /// Answers a query.
    pub async fn query(&self, method: &str, reader: Reader, body: Bytes) -> Result<Bytes> {
        let handler = self.queries.get(method).ok_or_else(|| Error::Failed(format!("no query {method}")))?;
        handler(reader, body).await
    }

    /// Begins to answer a query that goes on answering.
    pub async fn stream(&self, method: &str, watch: Watch, body: Bytes) -> Result<BoxStream<'static, Result<Bytes>>> {
        let handler = self.streams.get(method).ok_or_else(|| Error::Failed(format!("no stream {method}")))?;
        handler(watch, body).await
    }

    /// What such a query sees.
    pub fn watch(&self, caller: Caller, bell: Bell, stop: CancellationToken) -> Watch {
        Watch {
            ledger: self.ledger.clone(),
            caller,
            bell,
            hung: None,
            stop,
            has_sessions: self.has_sessions,
            sessions: Arc::clone(&self.sessions),
        }
    }

    /// Why the caller's session may not act as of a moment, as far as this service's replica knows.
    pub async fn refused(&self, caller: &Caller, as_of: Micros) -> Result<Option<Rejection>> {
        if !self.has_sessions || caller.session.is_none() {
            return Ok(None);
        }
        match check_session(&self.sessions, &self.ledger.reader(caller.clone()).await?, as_of).await {
            Ok(()) => Ok(None),
            Err(Error::Rejected(rejection)) => Ok(Some(rejection)),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {}, opened", self.name)
    }
}
