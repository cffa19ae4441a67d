//! What became of a command, as a client is told. Every command response has its receipt as field 1, so it is added without knowing the type:
//! protobuf merges messages by concatenation.

use bytes::Bytes;
use event::ConsistencyToken;
use proto::Message as _;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{DeliverResponse, Receipt, State};

use crate::error::Refusal;

/// The response of a command that has ended. `command` is its name.
pub fn ended(command: &str, outcome: DeliverResponse) -> Result<Bytes, Refusal> {
    match outcome.outcome {
        Some(Outcome::Error(error)) => Err(Refusal::Outcome { error, receipt: outcome.receipt }),
        Some(Outcome::Response(response)) => Ok(with_receipt(&completed(command, outcome.receipt), &response)),
        // The response's bytes are kept for a while only; the receipt says on that it is done.
        None => match outcome.receipt {
            Some(receipt) if receipt.state() == State::Completed => Ok(with_receipt(&receipt, &[])),
            receipt => Err(Refusal::Outcome { error: no_words(), receipt }),
        },
    }
}

/// The response of a command that will be carried out, whatever its type.
pub fn accepted(command: &str) -> Bytes {
    with_receipt(&receipt(command, State::Accepted), &[])
}

/// A receipt of our own. Whoever sends the token of one that is ACCEPTED along with a later call has that wait for this command's end.
pub fn receipt(command: &str, state: State) -> Receipt {
    let token = (state == State::Accepted).then(|| ConsistencyToken::of_command(command).to_string());
    let consistency_token = token.unwrap_or_default();
    Receipt { command: command.to_owned(), state: state.into(), consistency_token, ..Receipt::default() }
}

/// An encoded response with the receipt in front.
pub fn with_receipt(receipt: &Receipt, response: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(receipt.encoded_len() + 8 + response.len());
    prost::encoding::message::encode(1, receipt, &mut bytes);
    bytes.extend_from_slice(response);
    bytes.into()
}

fn completed(command: &str, of_owner: Option<Receipt>) -> Receipt {
    of_owner.unwrap_or_else(|| receipt(command, State::Completed))
}

fn no_words() -> proto::rpc::Status {
    let status = tonic::Status::from(Refusal::Internal);
    proto::rpc::Status::decode(status.details()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proto::order::v1::{Order, PlaceOrderResponse};
    use tonic::{Code, Status};

    use super::*;

    const NAME: &str = "order.place-order/AAAAAAAAAAAAAAAAAAAAAA";

    fn response() -> PlaceOrderResponse {
        PlaceOrderResponse { receipt: None, order: Some(Order { order_id: "7".to_owned(), ..Order::default() }) }
    }

    #[test]
    fn a_receipt_is_added_to_a_response_of_any_type() {
        let done = receipt(NAME, State::Completed);
        let outcome = DeliverResponse {
            receipt: Some(done.clone()),
            outcome: Some(Outcome::Response(response().encode_to_vec().into())),
        };
        let answer = PlaceOrderResponse::decode(ended(NAME, outcome).unwrap()).unwrap();
        assert_eq!(answer, PlaceOrderResponse { receipt: Some(done), ..response() });
    }

    #[test]
    fn an_accepted_command_answers_with_its_receipt_alone() {
        let answer = PlaceOrderResponse::decode(accepted(NAME)).unwrap();
        assert_eq!(answer.receipt.unwrap(), receipt(NAME, State::Accepted));
        assert_eq!(answer.order, None);
    }

    #[test]
    fn a_rejection_is_an_error_with_the_receipt() {
        let error = proto::rpc::Status { code: Code::FailedPrecondition.into(), ..Default::default() };
        let outcome =
            DeliverResponse { receipt: Some(receipt(NAME, State::Rejected)), outcome: Some(Outcome::Error(error)) };
        let status = Status::from(ended(NAME, outcome).unwrap_err());
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = proto::rpc::Status::decode(status.details()).unwrap().details;
        assert_eq!(Receipt::decode(details[0].value.as_slice()).unwrap().state(), State::Rejected);
    }

    #[test]
    fn a_response_that_is_no_longer_kept_leaves_its_receipt() {
        let kept = |state| DeliverResponse { receipt: Some(receipt(NAME, state)), outcome: None };
        let answer = PlaceOrderResponse::decode(ended(NAME, kept(State::Completed)).unwrap()).unwrap();
        assert_eq!(answer.receipt.unwrap().state(), State::Completed);
        assert_eq!(Status::from(ended(NAME, kept(State::Failed)).unwrap_err()).code(), Code::Internal);
    }
}
