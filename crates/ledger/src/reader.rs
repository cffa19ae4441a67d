use std::any::Any;
use std::sync::Arc;

use event::{Id, Key, Micros, Record};
use sea_orm::DatabaseConnection;

use crate::aggregate::{Aggregate, At, EventSet as _};
use crate::clock::Chance;
use crate::delivery::Caller;
use crate::error::{Code, Error, Rejection, Result};
use crate::store::event_log;

/// What a query, and the slow step of a command, can see: the database as it is committed, and who asks.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) db: DatabaseConnection,
    pub(crate) now: Micros,
    pub(crate) caller: Caller,
    pub(crate) chance: Chance,
    pub(crate) source: Id,
    pub(crate) state: Arc<dyn Any + Send + Sync>,
}

impl Reader {
    pub const fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    pub const fn now(&self) -> Micros {
        self.now
    }

    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The user who asks. Methods with `access: ACCESS_USER` always have one.
    pub fn user(&self) -> Result<Id> {
        user_of(&self.caller)
    }

    pub const fn chance(&self) -> &Chance {
        &self.chance
    }

    /// What the service was started with.
    pub fn service<S: 'static>(&self) -> Result<&S> {
        state_of(&self.state)
    }

    /// All events of a key, in order.
    pub async fn history(&self, key: &Key) -> Result<Vec<Record>> {
        Ok(event_log::read_all(&self.db, key, self.source).await?)
    }

    /// The aggregate as its log tells it, up to a moment if one is given, with where that was. None if it did not exist.
    pub async fn fold<A: Aggregate>(&self, id: Id, as_of: Option<Micros>) -> Result<Option<(A, At)>> {
        let history = self.history(&Key::new(A::KIND, id)).await?;
        fold(history.iter().filter(|record| as_of.is_none_or(|moment| record.time <= moment)))
    }
}

pub(crate) fn fold<'r, A: Aggregate>(records: impl Iterator<Item = &'r Record>) -> Result<Option<(A, At)>> {
    let mut folded: Option<(A, At)> = None;
    for record in records {
        let at = At { id: record.key.id(), revision: record.revision, time: record.time };
        let event = A::Event::decode(&record.type_name, &record.body).ok_or_else(|| {
            Error::Transient(format!("{} of {} is newer than this instance", record.type_name, record.key))
        })??;
        let (state, place) = folded.get_or_insert_with(|| (A::default(), at));
        state.apply(&event, &at);
        *place = at;
    }
    Ok(folded)
}

pub(crate) fn user_of(caller: &Caller) -> Result<Id> {
    let refusal = || Rejection::new(Code::Unauthenticated, "NO_USER", "this needs a user who is logged in");
    caller.user.ok_or_else(|| refusal().into())
}

pub(crate) fn state_of<S: 'static>(state: &Arc<dyn Any + Send + Sync>) -> Result<&S> {
    state.downcast_ref().ok_or_else(|| Error::Failed(format!("the service has no {}", std::any::type_name::<S>())))
}
