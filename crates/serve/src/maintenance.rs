//! What operators do about logs, subscriptions and projections. It works while the service itself does nothing, because its log is older than
//! what others have read: so it is done beside the lanes, by the ledger, each step in a transaction of its own.

use bytes::Bytes;
use ledger::{Code, Command, Ledger, Rejection, Result, SubscriptionStanding};
use prost::{Message, Name};
use proto::operator::v1::{
    CompareSubscriptionRequest, CompareSubscriptionResponse, FollowedLog, GetStandingRequest, GetStandingResponse,
    HandOverSubscriptionRequest, HandOverSubscriptionResponse, RaiseEpochRequest, RaiseEpochResponse,
    RebuildProjectionRequest, RebuildProjectionResponse, Subscription,
};

use crate::opened::Opened;

pub(crate) const GET_STANDING: &str = "millrace.operator.v1.MaintenanceService/GetStanding";
/// Aggregates whose rows are written again in one transaction at most.
const REBUILT_MAX: u64 = 200;

/// Carries a command of an operator out. None if it is none.
pub(crate) async fn carry_out(opened: &Opened, command: &Command) -> Option<Result<Bytes>> {
    let method = opened.schema.method(&command.method)?;
    let (input, body, ledger) = (method.input.full_name().to_owned(), command.body.clone(), &opened.ledger);
    let name = command.caller.name.clone();
    Some(match input {
        _ if input == RaiseEpochRequest::full_name() => done(raise_epoch(ledger, body, &name).await),
        _ if input == CompareSubscriptionRequest::full_name() => done(compare(ledger, body).await),
        _ if input == HandOverSubscriptionRequest::full_name() => done(hand_over(ledger, body, &name).await),
        _ if input == RebuildProjectionRequest::full_name() => done(rebuild(ledger, body).await),
        _ => return None,
    })
}

fn done<M: Message>(response: Result<M>) -> Result<Bytes> {
    response.map(|response| response.encode_to_vec().into())
}

pub(crate) async fn standing(opened: &Opened, body: Bytes) -> Result<Bytes> {
    let _ = GetStandingRequest::decode(body)?;
    let standing = opened.ledger.standing().await?;
    let response = GetStandingResponse {
        log_id: opened.ledger.log_id().to_string(),
        epoch: standing.epoch,
        behind: standing.behind.unwrap_or_default(),
        subscriptions: standing.subscriptions.into_iter().map(shown).collect(),
        projections: opened.ledger.handlers().projections().into_iter().map(str::to_owned).collect(),
    };
    Ok(response.encode_to_vec().into())
}

fn shown(standing: SubscriptionStanding) -> Subscription {
    let count = |keys: u64| i64::try_from(keys).unwrap_or(i64::MAX);
    let number = |version: i64| i32::try_from(version).unwrap_or(i32::MAX);
    let followed = standing.followed.into_iter().map(|log| FollowedLog {
        owner: log.owner,
        epoch: log.epoch,
        position: log.position,
        compared_to: log.compared_to,
    });
    Subscription {
        name: standing.name,
        version: number(standing.version),
        own_version: number(standing.own_version.unwrap_or_default()),
        is_replica: standing.is_replica,
        followed: followed.collect(),
        flowing: count(standing.flowing),
        waiting: count(standing.waiting),
        parked: count(standing.parked),
        comparing: count(standing.comparing),
    }
}

async fn raise_epoch(ledger: &Ledger, body: Bytes, who: &str) -> Result<RaiseEpochResponse> {
    let request = RaiseEpochRequest::decode(body)?;
    let epoch = ledger.raise_epoch(request.from).await?;
    tracing::warn!(who, epoch, "the epoch of the log was raised");
    Ok(RaiseEpochResponse { receipt: None, epoch })
}

async fn compare(ledger: &Ledger, body: Bytes) -> Result<CompareSubscriptionResponse> {
    let request = CompareSubscriptionRequest::decode(body)?;
    let standing = ledger.standing().await?;
    let found = standing.subscriptions.iter().find(|subscription| subscription.name == request.name);
    match found {
        None => Err(no_subscription(&request.name)),
        Some(found) if request.anew && !found.is_replica => {
            let message = format!("{} acts on what it hears; only a replica can be derived anew", request.name);
            Err(Rejection::new(Code::FailedPrecondition, "NO_REPLICA", message).into())
        }
        Some(_) => {
            ledger.begin_comparison(&request.name, request.anew).await?;
            Ok(CompareSubscriptionResponse::default())
        }
    }
}

async fn hand_over(ledger: &Ledger, body: Bytes, who: &str) -> Result<HandOverSubscriptionResponse> {
    let HandOverSubscriptionRequest { name, version, .. } = HandOverSubscriptionRequest::decode(body)?;
    let standing = ledger.standing().await?;
    if !standing.subscriptions.iter().any(|subscription| subscription.name == name) {
        return Err(no_subscription(&name));
    }
    ledger.hand_over(&name, version.into()).await?;
    tracing::warn!(who, name, version, "a subscription was handed over");
    Ok(HandOverSubscriptionResponse::default())
}

fn no_subscription(name: &str) -> ledger::Error {
    Rejection::new(Code::NotFound, "NO_SUBSCRIPTION", format!("there is no subscription {name}")).into()
}

async fn rebuild(ledger: &Ledger, body: Bytes) -> Result<RebuildProjectionResponse> {
    let request = RebuildProjectionRequest::decode(body)?;
    if !ledger.handlers().projections().contains(&request.aggregate.as_str()) {
        let message = format!("{} has no projection", request.aggregate);
        return Err(Rejection::new(Code::NotFound, "NO_PROJECTION", message).into());
    }
    let limit = u64::try_from(request.limit).ok().filter(|limit| (1..=REBUILT_MAX).contains(limit));
    let rebuilt = ledger.rebuild_projection(&request.aggregate, &request.after, limit.unwrap_or(REBUILT_MAX)).await?;
    let count = |keys: u64| i64::try_from(keys).unwrap_or(i64::MAX);
    Ok(RebuildProjectionResponse {
        receipt: None,
        rebuilt: count(rebuilt.rebuilt),
        last: rebuilt.last.unwrap_or_default(),
        total: count(rebuilt.total),
    })
}
