//! The logs of others that subscriptions follow, as a transaction finds them: what is of no such log is not taken in, nor what is of an epoch
//! that is over.

use event::{Id, Key, Record, subject};
use fault::{Protection, without};

use crate::database::Transaction;
use crate::delivery::{EventDelivery, Means};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::{event_log, followed_log, log, subscription};

/// A part of an owner's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPart {
    /// The log's generation before it was read. A part that was under way while it was raised is of the one that is over.
    pub epoch: i64,
    /// Sorted by key and revision.
    pub records: Vec<Record>,
}

/// What a transaction knows of the subscriptions that it works for, until it ends.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// The rows of the subscriptions, held shared.
    pub(crate) subscriptions: Vec<subscription::Model>,
    logs: Vec<FollowedLog>,
}

#[derive(Debug)]
struct FollowedLog {
    subscription: String,
    owner: String,
    log_id: Id,
    epoch: i64,
}

/// Where an event is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Followed,
    /// A log that its subscription has not met yet.
    Unmet,
    /// Another log than the one that is followed.
    Another,
    /// A generation of the log that is over. The owner may have lost it, and its key been compared already: then it would be applied for good.
    /// What the owner still has, the audit that follows a raised epoch finds.
    Over,
}

impl Following {
    /// Holds the subscriptions shared, so that neither are they taken over nor their logs' epochs raised before the transaction ends.
    pub(crate) async fn hold(txn: &Transaction, names: Vec<&'static str>) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let subscriptions = subscription::share(txn, names.iter().copied()).await?;
        // Not in one statement with the rows that are locked: that would see what was there before it waited for them.
        let rows = followed_log::of_all(txn, names).await?;
        let logs = rows.into_iter().map(FollowedLog::try_from).collect::<Result<_>>()?;
        Ok(Self { subscriptions, logs })
    }

    pub(crate) fn starts_at(&self, name: &str) -> Option<i64> {
        self.subscriptions.iter().find(|row| row.name == name)?.starts_at
    }

    /// Whether what was read in `epoch` of an owner's log is of a generation that is over.
    pub(crate) fn is_over(&self, name: &str, owner: &str, epoch: i64) -> bool {
        self.log(name, owner).is_some_and(|log| epoch < log.epoch) && !without(Protection::Epoch)
    }

    fn log(&self, name: &str, owner: &str) -> Option<&FollowedLog> {
        self.logs.iter().find(|log| log.subscription == name && log.owner == owner)
    }
}

impl Ledger {
    /// Where an event is from. Asks for an audit if only that can tell more.
    pub(crate) fn origin(&self, following: &Following, event: &EventDelivery) -> Origin {
        let (name, record) = (event.subscription, &event.record);
        let owner = subject::domain_of(&record.type_name);
        let own = self.0.name.strip_prefix("service/") == Some(owner);
        let log = following.log(name, owner);
        if log.is_none_or(|log| log.epoch < record.epoch) && !own {
            self.want_audit();
        }
        let epoch = match event.means {
            Means::Log { epoch, .. } => epoch,
            Means::Stream | Means::StreamLate => record.epoch,
        };
        match log {
            _ if own && record.source != self.log_id() && !without(Protection::LogId) => Origin::Another,
            None if own => Origin::Followed,
            None => Origin::Unmet,
            Some(log) if !own && log.log_id != record.source && !without(Protection::LogId) => Origin::Another,
            Some(_) if following.is_over(name, owner, epoch) => Origin::Over,
            Some(_) => Origin::Followed,
        }
    }

    /// From now on events of this log are taken in for a subscription, unless it follows one of that owner's already.
    pub async fn meet(&self, name: &str, owner: &str, log_id: Id, epoch: i64) -> Result<()> {
        let txn = self.0.db.begin().await?;
        let row = followed_log::Model {
            subscription: name.to_owned(),
            owner: owner.to_owned(),
            log_id: log_id.to_string(),
            epoch,
            audited_position: 0,
            audited_event_id: None,
            compared_to: None,
            rebuilds: false,
        };
        followed_log::insert_missing(&txn, row).await?;
        Ok(txn.commit().await?)
    }

    /// The events of keys after a revision each.
    pub async fn read(&self, ranges: &[(Key, i64)], limit: u64) -> Result<LogPart> {
        let db = self.0.db.reader();
        let epoch = log::read(db).await?.epoch;
        Ok(LogPart { epoch, records: event_log::read(db, ranges, limit, self.log_id()).await? })
    }
}

impl TryFrom<followed_log::Model> for FollowedLog {
    type Error = Error;

    fn try_from(row: followed_log::Model) -> Result<Self> {
        let log_id = log_id(&row)?;
        Ok(Self { subscription: row.subscription, owner: row.owner, log_id, epoch: row.epoch })
    }
}

pub(crate) fn log_id(row: &followed_log::Model) -> Result<Id> {
    row.log_id.parse().map_err(|_| Error::Failed(format!("the id of the log of {} cannot be read", row.owner)))
}
