//! What the gateway answers itself: `CommandService`.

use std::time::Duration;

use bytes::Bytes;
use event::subject;
use prost_types::Any;
use proto::Message as _;
use proto::command::v1::get_command_response::Outcome;
use proto::command::v1::{
    DeliverResponse, GetCommandRequest, GetCommandResponse, Receipt, State, WaitCommandRequest, deliver_response,
};
use tokio::time::Instant;

use crate::call::Call;
use crate::edge::Gateway;
use crate::error::Refusal;
use crate::locate::Found;
use crate::routes::Route;
use crate::{answer, validate};

const GET_COMMAND: &str = "millrace.command.v1.CommandService/GetCommand";
const WAIT_COMMAND: &str = "millrace.command.v1.CommandService/WaitCommand";

/// What is left of the deadline for a last look.
const LAST_LOOK: Duration = Duration::from_millis(1500);

impl Gateway {
    /// Answers a method of the gateway's own. Its request has been validated.
    pub(crate) async fn own(&self, call: &Call, body: Bytes) -> Result<Bytes, Refusal> {
        let response = match call.route.method.name.as_str() {
            GET_COMMAND => {
                let request = GetCommandRequest::decode(body).map_err(|_| Refusal::MalformedMessage)?;
                self.look_up(call, &request.command, None).await?
            }
            WAIT_COMMAND => {
                let request = WaitCommandRequest::decode(body).map_err(|_| Refusal::MalformedMessage)?;
                let timeout = request.timeout.map_or(Ok(Duration::MAX), Duration::try_from);
                let timeout = timeout.map_err(|_| invalid("timeout", "must not be negative"))?;
                self.look_up(call, &request.command, Some(timeout)).await?
            }
            _ => return Err(Refusal::UnknownMethod),
        };
        // The two responses have the same fields under the same numbers.
        Ok(response.encode_to_vec().into())
    }

    async fn look_up(&self, call: &Call, name: &str, wait: Option<Duration>) -> Result<GetCommandResponse, Refusal> {
        let no_command = || invalid("command", "must be the name of a command, as receipts have it");
        let (domain, method, id) = subject::parse_command_name(name).map_err(|_| no_command())?;
        let route = self.routes.of_command(domain, method).ok_or_else(no_command)?;
        let found = match wait {
            Some(timeout) => {
                let timeout = timeout.min(call.deadline.left().saturating_sub(LAST_LOOK));
                let ended = self.wait_for(route, id, &call.principal);
                match tokio::time::timeout_at(Instant::now() + timeout, ended).await {
                    Ok(found) => found?,
                    Err(_) => self.locate(route, id, &call.principal).await?,
                }
            }
            None => self.locate(route, id, &call.principal).await?,
        };
        Ok(match found {
            Found::Ended(outcome) => ended(name, route, *outcome),
            Found::Queued => GetCommandResponse {
                receipt: Some(answer::receipt(name, State::Accepted)),
                outcome: None,
                waiting_for: domain.to_owned(),
            },
            Found::Nowhere => GetCommandResponse {
                receipt: Some(answer::receipt(name, State::Unknown)),
                ..GetCommandResponse::default()
            },
        })
    }
}

fn ended(name: &str, route: &Route, outcome: DeliverResponse) -> GetCommandResponse {
    // Nobody sent it again: the answer is that of the one call.
    let receipt =
        Receipt { replayed: false, ..outcome.receipt.unwrap_or_else(|| answer::receipt(name, State::Completed)) };
    let type_url = format!("type.googleapis.com/{}", route.method.output.full_name());
    let outcome = outcome.outcome.map(|outcome| match outcome {
        deliver_response::Outcome::Response(response) => {
            Outcome::Response(Any { type_url, value: answer::with_receipt(&receipt, &response).into() })
        }
        deliver_response::Outcome::Error(error) => Outcome::Error(error),
    });
    GetCommandResponse { receipt: Some(receipt), outcome, waiting_for: String::new() }
}

fn invalid(field: &str, description: &str) -> Refusal {
    Refusal::InvalidFields(vec![validate::violation(field.to_owned(), description.to_owned())])
}

#[cfg(test)]
mod tests {
    use proto::command::v1::WaitCommandResponse;

    use super::*;

    #[test]
    fn the_two_responses_have_the_same_fields() {
        let response = GetCommandResponse {
            receipt: Some(answer::receipt("order.place-order/x", State::Completed)),
            outcome: Some(Outcome::Response(Any { type_url: "type".to_owned(), value: vec![1] })),
            waiting_for: "order".to_owned(),
        };
        let other = WaitCommandResponse::decode(response.encode_to_vec().as_slice()).unwrap();
        assert_eq!(other.encode_to_vec(), response.encode_to_vec());
    }

    #[test]
    fn every_method_of_its_own_domain_is_answered() {
        let schema = event::Schema::embedded().unwrap();
        let public = schema.methods().filter(|method| method.access != event::Access::Internal);
        let own: Vec<_> =
            public.filter(|method| method.domain == crate::routes::OWN_DOMAIN).map(|m| m.name.as_str()).collect();
        assert_eq!(own, [GET_COMMAND, WAIT_COMMAND]);
    }
}
