use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use proto::command::v1::{Receipt, State, WaitCommandResponse, wait_command_response};
use proto::order::v1::{CancelOrderResponse, Order, PlaceOrderResponse};
use proto::{Message, Name as _, rpc};
use tonic::{Code, Status};

use super::history::Told;
use crate::may_still_happen;

/// What a call came to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Answered(Box<Answer>),
    /// It was refused without a receipt, for this reason.
    Refused(String),
    /// Nobody knows.
    MayStillHappen(String),
    /// The session is over: log in, and call again.
    LoggedOut,
}

/// The answer to a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) told: Option<Told>,
    pub(super) command: String,
    pub(super) token: String,
    /// All of it, but for whether it was repeated.
    pub(super) print: String,
    pub(super) order: Option<Order>,
    /// The payment method, if that was asked for.
    pub(super) method: String,
}

impl Outcome {
    pub(super) fn of<R: Into<Answer>>(result: Result<R, Status>) -> Self {
        match result {
            Ok(response) => Self::Answered(Box::new(response.into())),
            Err(status) => Self::of_error(&status),
        }
    }

    fn of_error(status: &Status) -> Self {
        let error = rpc::Status::decode(status.details()).unwrap_or_default();
        let receipt = detail::<Receipt>(&error, &Receipt::full_name());
        let reason = detail::<rpc::ErrorInfo>(&error, "google.rpc.ErrorInfo").map(|info| info.reason);
        let told = format!("{:?} {} {}", status.code(), reason.clone().unwrap_or_default(), status.message());
        match (status.code(), receipt) {
            (_, Some(receipt)) if reason.as_deref() != Some("IDEMPOTENCY_KEY_REUSED") => {
                Self::Answered(Box::new(answer(Some(receipt), told.as_bytes())))
            }
            (Code::Unauthenticated, _) => Self::LoggedOut,
            (Code::ResourceExhausted, _) => Self::MayStillHappen(told),
            _ if may_still_happen(status) => Self::MayStillHappen(told),
            _ => Self::Refused(told),
        }
    }
}

fn detail<M: Message + Default>(error: &rpc::Status, name: &str) -> Option<M> {
    let any = error.details.iter().find(|any| any.type_url.ends_with(name))?;
    M::decode(any.value.as_slice()).ok()
}

impl From<PlaceOrderResponse> for Answer {
    fn from(response: PlaceOrderResponse) -> Self {
        let PlaceOrderResponse { receipt, order } = response;
        let body = order.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        Self { order, ..answer(receipt, &body) }
    }
}

impl From<CancelOrderResponse> for Answer {
    fn from(response: CancelOrderResponse) -> Self {
        let CancelOrderResponse { receipt, order } = response;
        let body = order.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        Self { order, ..answer(receipt, &body) }
    }
}

impl From<proto::billing::v1::AddPaymentMethodResponse> for Answer {
    fn from(response: proto::billing::v1::AddPaymentMethodResponse) -> Self {
        let proto::billing::v1::AddPaymentMethodResponse { receipt, payment_method } = response;
        let body = payment_method.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        Self { method: payment_method.unwrap_or_default().payment_method_id, ..answer(receipt, &body) }
    }
}

/// A response is told as the call itself tells it; of a refusal only that it was one.
impl From<WaitCommandResponse> for Answer {
    fn from(WaitCommandResponse { receipt, outcome, .. }: WaitCommandResponse) -> Self {
        let silent = Self { print: String::new(), ..answer(receipt, &[]) };
        let Some(wait_command_response::Outcome::Response(any)) = outcome else { return silent };
        let (type_name, value) = (any.type_url.rsplit('/').next().unwrap_or_default(), any.value.as_slice());
        let told = if type_name == PlaceOrderResponse::full_name() {
            PlaceOrderResponse::decode(value).map(Self::from)
        } else if type_name == CancelOrderResponse::full_name() {
            CancelOrderResponse::decode(value).map(Self::from)
        } else {
            Ok(silent.clone())
        };
        told.unwrap_or_else(|error| Self { print: error.to_string(), ..silent })
    }
}

fn answer(receipt: Option<Receipt>, body: &[u8]) -> Answer {
    let receipt = Receipt { replayed: false, ..receipt.unwrap_or_default() };
    let told = match receipt.state() {
        State::Accepted => Some(Told::Accepted),
        State::Completed => Some(Told::Completed),
        State::Rejected => Some(Told::Rejected),
        State::Failed => Some(Told::Failed),
        State::Unknown => Some(Told::Unknown),
        State::Unspecified => None,
    };
    let mut hasher = DefaultHasher::new();
    (receipt.encode_to_vec(), body).hash(&mut hasher);
    let print = format!("{:016x}", hasher.finish());
    Answer { told, command: receipt.command, token: receipt.consistency_token, print, ..Answer::default() }
}
