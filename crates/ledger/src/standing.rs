//! How a service stands with its own log and with those that it follows, for operators.

use crate::error::Result;
use crate::ledger::Ledger;
use crate::store::cursor::{self, State};
use crate::store::{followed_log, log, subscription};

/// How a service stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub epoch: i64,
    /// Why it does nothing; none: it works.
    pub behind: Option<String>,
    /// Sorted by name.
    pub subscriptions: Vec<SubscriptionStanding>,
}

/// How a subscription stands.
#[derive(Clone, Debug)]
pub struct SubscriptionStanding {
    pub name: String,
    /// The version of the code that does its work.
    pub version: i64,
    /// The version of this code; none: this code does not know it.
    pub own_version: Option<i64>,
    pub is_replica: bool,
    pub followed: Vec<FollowedStanding>,
    pub flowing: u64,
    pub waiting: u64,
    pub parked: u64,
    pub comparing: u64,
}

/// How far a subscription is with an owner's log.
#[derive(Clone, Debug)]
pub struct FollowedStanding {
    pub owner: String,
    pub epoch: i64,
    pub position: i64,
    pub compared_to: Option<String>,
}

impl Ledger {
    /// Counts every cursor, so it is not for every second.
    pub async fn standing(&self) -> Result<Standing> {
        let db = self.0.db.reader();
        let row = log::read(db).await?;
        let followed = followed_log::all(db).await?;
        let counts = cursor::counts(db).await?;
        let mut subscriptions: Vec<_> = subscription::all(db)
            .await?
            .into_iter()
            .map(|row| {
                let own = self.0.handlers.subscriptions.get(row.name.as_str());
                let count = |state: State| {
                    let found = counts.iter().find(|count| count.subscription == row.name && count.state == state);
                    found.map_or(0, |count| u64::try_from(count.keys).unwrap_or(0))
                };
                SubscriptionStanding {
                    followed: followed.iter().filter(|log| log.subscription == row.name).map(Into::into).collect(),
                    own_version: own.map(|own| own.version),
                    is_replica: own.is_some_and(|own| own.acts_on.is_none()),
                    flowing: count(State::Flowing),
                    waiting: count(State::Waiting),
                    parked: count(State::Parked),
                    comparing: count(State::Comparing),
                    version: row.version,
                    name: row.name,
                }
            })
            .collect();
        subscriptions.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Standing { epoch: row.epoch, behind: row.behind, subscriptions })
    }
}

impl From<&followed_log::Model> for FollowedStanding {
    fn from(row: &followed_log::Model) -> Self {
        Self {
            owner: row.owner.clone(),
            epoch: row.epoch,
            position: row.audited_position,
            compared_to: row.compared_to.clone(),
        }
    }
}
