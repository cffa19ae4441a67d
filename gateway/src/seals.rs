//! What the gateway states of a request, sealed for its owner.

use std::sync::Arc;
use std::time::Duration;

use event::{Id, Micros};
use identity::{Principal, Sealer, seal};
use proto::command::v1::Seal;

use crate::error::Refusal;

/// The time, from outside.
pub type Now = Arc<dyn Fn() -> Micros + Send + Sync>;

/// A command that was not begun by then ends REJECTED.
pub const COMMAND_GOOD_FOR: Duration = Duration::from_hours(24);

/// A query is judged on arrival; this covers its way and the clocks' difference.
const QUERY_GOOD_FOR: Duration = Duration::from_mins(1);

/// Makes seals. Cheap to clone.
#[derive(Clone)]
pub struct Seals {
    sealer: Arc<Sealer>,
    now: Now,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seals").field("caller", &self.sealer.caller()).finish_non_exhaustive()
    }
}

impl Seals {
    pub fn new(sealer: Sealer, now: Now) -> Self {
        Self { sealer: Arc::new(sealer), now }
    }

    /// The gateway itself, of its own accord.
    pub fn service(&self) -> Principal {
        Principal::service(self.sealer.caller())
    }

    /// The seal of a query, as text.
    pub fn query(&self, owner: &str, principal: &Principal, method: &str, body: &[u8]) -> Result<String, Refusal> {
        let now = (self.now)();
        let statement = seal::statement(principal, method, body, now, now.plus(QUERY_GOOD_FOR));
        let seal = self.sealer.seal(owner, &statement).map_err(|error| no_key(&error))?;
        Ok(seal::to_text(&seal))
    }

    /// The seal of a command. `anonymous`: nobody is named in it, and no receipt will be kept.
    pub fn command(&self, owner: &str, command: &Stated<'_>) -> Result<Seal, Refusal> {
        let now = (self.now)();
        let mut statement =
            seal::statement(command.principal, command.method, command.body, now, now.plus(COMMAND_GOOD_FOR));
        statement.command_id = command.id.to_string();
        statement.anonymous = command.anonymous;
        self.sealer.seal(owner, &statement).map_err(|error| no_key(&error))
    }

    /// What a queued command's seal states, if a gateway made it for this method and this body.
    pub fn read(&self, owner: &str, text: &str, method: &str, body: &[u8]) -> Option<identity::Verified> {
        let seal = seal::from_text(text).ok()?;
        self.sealer.verify_own(owner, &seal, method, body).ok()
    }
}

/// What the seal of a command states.
#[derive(Clone, Copy, Debug)]
pub struct Stated<'a> {
    pub principal: &'a Principal,
    pub method: &'a str,
    pub id: Id,
    pub anonymous: bool,
    pub body: &'a [u8],
}

fn no_key(error: &identity::SealError) -> Refusal {
    tracing::error!(%error, "a call cannot be sealed");
    Refusal::Internal
}
