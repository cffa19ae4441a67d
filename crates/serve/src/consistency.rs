//! Reading one's writes: a call that brings a consistency token waits until this service has seen what its caller has seen.

use std::sync::Arc;
use std::time::Duration;

use event::{ConsistencyToken, Id, Seen, subject};
use ledger::{Caller, Code, Rejection, Result};
use proto::command::v1::GetReceiptRequest;
use tokio::sync::Semaphore;

use crate::opened::Opened;
use crate::owners::Owners;

/// The longest that a call waits.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Calls that wait at once at most; those beyond are told at once that they would have to.
const WAITING_MAX: usize = 256;
/// Other owners are asked for so many commands at once at most.
const ASKING_MAX: usize = 16;
/// Between two looks. Replicas are some milliseconds behind, or away.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// What this service has seen, and how it learns what it has to wait for. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Consistency(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    opened: Arc<Opened>,
    owners: Owners,
    waiting: Semaphore,
    asking: Semaphore,
}

/// What a call still waits for.
struct Awaited {
    seen: Vec<Seen>,
    /// A command that has not ended, by its name.
    command: Option<String>,
}

impl Consistency {
    pub(crate) fn new(opened: Arc<Opened>, owners: Owners) -> Self {
        let (waiting, asking) = (Semaphore::new(WAITING_MAX), Semaphore::new(ASKING_MAX));
        Self(Arc::new(Parts { opened, owners, waiting, asking }))
    }

    /// Whether this service has seen what the token tells of, at once or within `patience`. Holds no database connection while it waits.
    /// Refuses what is no token.
    pub(crate) async fn reached(&self, token: &str, caller: &Caller, patience: Duration) -> Result<bool> {
        if token.is_empty() {
            return Ok(true);
        }
        let invalid = "the consistency token is not one of ours";
        let ConsistencyToken { entries, command } =
            token.parse().map_err(|_| Rejection::new(Code::InvalidArgument, "INVALID_CONSISTENCY_TOKEN", invalid))?;
        let mut awaited = Awaited { seen: entries, command };
        if patience.is_zero() {
            return self.look(&mut awaited, caller).await;
        }
        let waited = tokio::time::timeout(patience.min(WAIT_MAX), self.wait(awaited, caller)).await;
        waited.unwrap_or(Ok(false))
    }

    async fn wait(&self, mut awaited: Awaited, caller: &Caller) -> Result<bool> {
        if self.look(&mut awaited, caller).await? {
            return Ok(true);
        }
        let Ok(_place) = self.0.waiting.try_acquire() else { return Ok(false) };
        let mut pause = LOOK_FIRST;
        loop {
            tokio::time::sleep(pause).await;
            if self.look(&mut awaited, caller).await? {
                return Ok(true);
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Once.
    async fn look(&self, awaited: &mut Awaited, caller: &Caller) -> Result<bool> {
        if let Some(name) = &awaited.command {
            let Some(token) = self.token_of(name, caller).await? else { return Ok(false) };
            // What it wrote is awaited next.
            awaited.seen.extend(token.entries);
            awaited.command = None;
        }
        self.0.opened.ledger.has_passed(&awaited.seen).await
    }

    /// The token that a command of this caller has left. None if it has not ended as far as can be told now, or is someone else's.
    async fn token_of(&self, name: &str, caller: &Caller) -> Result<Option<ConsistencyToken>> {
        let Ok((domain, kebab, id)) = subject::parse_command_name(name) else { return Ok(None) };
        let text = if domain == self.0.opened.name {
            let ended = self.0.opened.ledger.receipt(id).await?;
            ended.filter(|(principal, _)| *principal == caller.name).map(|(_, ended)| ended.token)
        } else {
            self.ask(domain, kebab, id, caller).await
        };
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Asks another owner.
    async fn ask(&self, domain: &str, kebab: &str, command: Id, caller: &Caller) -> Option<String> {
        let Ok(_place) = self.0.asking.try_acquire() else { return None };
        let mut methods = self.0.opened.schema.methods();
        let method = methods.find(|method| method.domain == domain && method.kebab == kebab)?.name.clone();
        let request = GetReceiptRequest { method, command_id: command.to_string() };
        match self.0.owners.receipt(domain, &request, caller.user).await {
            Ok(receipt) => Some(receipt?.consistency_token),
            Err(error) => {
                tracing::debug!(%error, "a command that is to be followed cannot be asked for");
                None
            }
        }
    }
}
