//! `millrace status`, `epoch`, `replica`, `projection` and `subscription`, as they are typed and answered.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use millrace::Role;
use millrace::operator::Operator;
use proto::operator::v1::{GetStandingResponse, Subscription};

use crate::operate::{Reach, say};

/// How often a service is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Only of these services.
    services: Vec<Role>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Epoch {
    /// Begins a new generation of a service's log, after its database was restored. What others have read beyond its end is given up; whoever
    /// acted on it lists that as parked.
    Raise(Of),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Replica {
    /// Derives every key of a service's replicas anew from their owners' logs, key by key, while it serves.
    Rebuild(OfSubscription),
    /// Compares every key of a service's subscriptions with their owners' logs. What differs is derived anew, or parked and listed.
    Compare(OfSubscription),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Projection {
    /// Writes the rows that queries read again from the events, some keys at a time, while the service serves.
    Rebuild(OfProjection),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subscriptions {
    /// Gives a subscription's work to another version of the code: the way back after a newer one has taken it over.
    HandOver(HandOver),
}

#[derive(Args, Debug)]
pub(crate) struct Of {
    /// The service.
    service: Role,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct OfSubscription {
    #[command(flatten)]
    of: Of,
    /// Only this subscription.
    #[arg(long)]
    subscription: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct OfProjection {
    #[command(flatten)]
    of: Of,
    /// Only this kind of aggregates, such as order.
    #[arg(long)]
    aggregate: Option<String>,
    /// Goes on after this key, where an earlier run was broken off.
    #[arg(long, default_value = "", requires = "aggregate")]
    after: String,
}

#[derive(Args, Debug)]
pub(crate) struct HandOver {
    #[command(flatten)]
    of: Of,
    /// The subscription's name.
    #[arg(long)]
    subscription: String,
    /// The version of the code that is to do its work.
    #[arg(long)]
    to: i32,
}

pub(crate) async fn status(status: &Status) -> anyhow::Result<()> {
    let roles = if status.services.is_empty() { Role::services().collect() } else { status.services.clone() };
    let operator = status.reach.operator(&roles, "")?;
    let mut problems = Vec::new();
    for role in roles {
        match operator.standing(role).await {
            Ok(standing) => write!(io::stdout(), "{}", told(role, &standing))?,
            Err(error) => problems.push(error.to_string()),
        }
    }
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\nmillrace: "));
    Ok(())
}

fn told(role: Role, standing: &GetStandingResponse) -> String {
    let works = if standing.behind.is_empty() {
        "works".to_owned()
    } else {
        format!(
            "does nothing: its log is older than what others have read ({}); see `millrace epoch raise`",
            standing.behind
        )
    };
    let first = format!("{role}: {works}; epoch {} of log {}\n", standing.epoch, standing.log_id);
    std::iter::once(first).chain(standing.subscriptions.iter().map(line)).collect()
}

fn line(of: &Subscription) -> String {
    let Subscription { name, version, own_version, flowing, waiting, parked, comparing, followed, .. } = of;
    let other = if version == own_version { String::new() } else { format!(", this code is {own_version}") };
    let owners = followed.iter().map(|log| {
        let compared = log.compared_to.as_ref().map(|_| ", being compared").unwrap_or_default();
        format!("{} up to {}.{}{compared}", log.owner, log.epoch, log.position)
    });
    let owners = owners.collect::<Vec<_>>().join(", ");
    let keys = format!("{flowing} flowing, {waiting} waiting, {parked} parked, {comparing} to compare");
    format!("  {name} (version {version}{other}): {keys}; {owners}\n")
}

pub(crate) async fn epoch(Epoch::Raise(of): &Epoch) -> anyhow::Result<()> {
    let operator = of.reach.operator(&[of.service], "")?;
    let from = operator.standing(of.service).await?.epoch;
    let epoch = operator.raise_epoch(of.service, from).await?;
    say(&format!("{}: epoch {epoch}; every subscriber compares, and lists what has diverged as parked", of.service))
}

pub(crate) async fn replica(action: &Replica) -> anyhow::Result<()> {
    let (of, anew) = match action {
        Replica::Rebuild(of) => (of, true),
        Replica::Compare(of) => (of, false),
    };
    let service = of.of.service;
    let operator = of.of.reach.operator(&[service], "")?;
    let is_meant = |found: &Subscription| match &of.subscription {
        Some(name) => found.name == *name,
        None => found.is_replica || !anew,
    };
    let standing = operator.standing(service).await?;
    let names: Vec<_> = standing.subscriptions.iter().filter(|found| is_meant(found)).map(|s| s.name.clone()).collect();
    anyhow::ensure!(!names.is_empty(), "{service} has no such subscription");
    for name in &names {
        operator.compare(service, name, anew).await?;
    }
    for name in &names {
        compared(&operator, service, name).await?;
    }
    Ok(())
}

/// Tells how far a comparison is until every key was visited, and none is left to compare.
async fn compared(operator: &Operator, service: Role, name: &str) -> anyhow::Result<()> {
    let mut before = String::new();
    loop {
        let standing = operator.standing(service).await?;
        let found = standing.subscriptions.into_iter().find(|subscription| subscription.name == name);
        let found = found.with_context(|| format!("{service} has no subscription {name} any more"))?;
        let visiting = found.followed.iter().find_map(|log| log.compared_to.clone());
        let left = found.waiting + found.comparing;
        let now = match &visiting {
            Some(key) => format!("{service} {name}: visited up to {key}, {left} keys under way"),
            None => format!("{service} {name}: {left} keys under way"),
        };
        if now != before {
            say(&now)?;
        }
        if visiting.is_none() && left == 0 {
            return say(&format!("{service} {name}: done; {} keys flow, {} are parked", found.flowing, found.parked));
        }
        before = now;
        tokio::time::sleep(LOOK).await;
    }
}

pub(crate) async fn projection(Projection::Rebuild(of): &Projection) -> anyhow::Result<()> {
    let service = of.of.service;
    let operator = of.of.reach.operator(&[service], "")?;
    let mut kinds = operator.standing(service).await?.projections;
    kinds.retain(|kind| of.aggregate.as_ref().is_none_or(|meant| meant == kind));
    anyhow::ensure!(!kinds.is_empty(), "{service} has no such projection");
    for kind in kinds {
        let (mut after, mut rebuilt) = (of.after.clone(), 0);
        loop {
            let part = operator.rebuild_projection(service, &kind, &after).await?;
            if part.last.is_empty() {
                break;
            }
            rebuilt += part.rebuilt;
            say(&format!("{service} {kind}: {rebuilt} of {}, up to {}", part.total, part.last))?;
            after = part.last;
        }
        say(&format!("{service} {kind}: done"))?;
    }
    Ok(())
}

pub(crate) async fn subscription(Subscriptions::HandOver(hand_over): &Subscriptions) -> anyhow::Result<()> {
    let HandOver { of, subscription, to } = hand_over;
    let operator = of.reach.operator(&[of.service], "")?;
    operator.hand_over(of.service, subscription, *to).await?;
    say(&format!("{}: version {to} does the work of {subscription}", of.service))
}
