//! Where a command is: with its owner, in its queue, or with nobody. The same at any gateway.

use std::time::Duration;

use event::{Delivery, Id};
use identity::Principal;
use messaging::queue::QueueError;
use proto::Message as _;
use proto::command::v1::{DeliverResponse, GetReceiptRequest, deliver_response, get_receipt_response};
use tonic::Code;

use crate::edge::Gateway;
use crate::error::Refusal;
use crate::owner::{GET_RECEIPT, Onward};
use crate::routes::Route;

/// An owner that has not answered by then counts as away, and its queue is asked.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two looks for a command that is waited for.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(25);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// What is known of a command.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its owner has judged it.
    Ended(Box<DeliverResponse>),
    /// It is in the queue of its owner.
    Queued,
    /// Nobody has it.
    Nowhere,
}

impl Gateway {
    /// Looks for the command that this principal sent. UNAVAILABLE if it may be where nobody answers.
    pub(crate) async fn locate(&self, route: &Route, id: Id, principal: &Principal) -> Result<Found, Refusal> {
        let first = self.receipt(route, id, principal).await;
        if let Ok(Some(ended)) = first {
            return Ok(Found::Ended(ended));
        }
        if let Err(refusal @ (Refusal::CommandNotYours | Refusal::Owner(_))) = first {
            return Err(refusal);
        }
        if route.method.delivery == Delivery::Durable && self.is_queued(route, id, principal).await? {
            return Ok(Found::Queued);
        }
        // It may have been taken from the queue between the two looks; then it has a receipt now, because it is committed before it is
        // acknowledged.
        Ok(self.receipt(route, id, principal).await?.map_or(Found::Nowhere, Found::Ended))
    }

    /// Looks again and again while the command may still happen. Not bounded by itself.
    pub(crate) async fn wait_for(&self, route: &Route, id: Id, principal: &Principal) -> Result<Found, Refusal> {
        let mut pause = LOOK_AGAIN_FIRST;
        loop {
            match self.locate(route, id, principal).await {
                Ok(Found::Queued) | Err(Refusal::Unavailable) => {}
                known => return known,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// What the owner has of it.
    pub(crate) async fn receipt(
        &self,
        route: &Route,
        id: Id,
        principal: &Principal,
    ) -> Result<Option<Box<DeliverResponse>>, Refusal> {
        let owner = route.owner.as_ref().ok_or(Refusal::Internal)?;
        let request = GetReceiptRequest { method: route.method.name.clone(), command_id: id.to_string() };
        let seal = self.seals.query(&owner.domain, principal, GET_RECEIPT, &request.encode_to_vec())?;
        let onward = Onward { seal, within: Some(RECEIPT_TIMEOUT), ..Onward::default() };
        let Ok(answer) = tokio::time::timeout(RECEIPT_TIMEOUT, owner.receipt(onward, &request)).await else {
            return Err(Refusal::Unavailable);
        };
        match answer {
            Ok(kept) => {
                let outcome = kept.outcome.map(|outcome| match outcome {
                    get_receipt_response::Outcome::Response(bytes) => deliver_response::Outcome::Response(bytes),
                    get_receipt_response::Outcome::Error(error) => deliver_response::Outcome::Error(error),
                });
                Ok(Some(Box::new(DeliverResponse { receipt: kept.receipt, outcome })))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) if status.code() == Code::PermissionDenied => Err(Refusal::CommandNotYours),
            Err(status) if status.code() == Code::Unauthenticated => Err(Refusal::from_owner(status)),
            Err(status) => {
                tracing::debug!(code = ?status.code(), owner = owner.domain, "a receipt cannot be read");
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn is_queued(&self, route: &Route, id: Id, principal: &Principal) -> Result<bool, Refusal> {
        let method = &route.method;
        let queued = match self.queue.find(&method.name, id).await {
            Ok(queued) => queued,
            Err(QueueError::Unreachable | QueueError::Copy | QueueError::Full | QueueError::TooLarge) => {
                return Err(Refusal::Unavailable);
            }
        };
        let stated =
            queued.and_then(|queued| self.seals.read(&method.domain, &queued.seal, &method.name, &queued.body));
        match stated {
            Some(stated) if stated.principal.user == principal.user => Ok(true),
            Some(_) => Err(Refusal::CommandNotYours),
            // A message that no gateway sealed is nobody's command.
            None => Ok(false),
        }
    }
}
