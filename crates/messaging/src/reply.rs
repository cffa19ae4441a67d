use event::{Id, subject};
use ledger::{CommandResult, Ended};
use proto::command::v1::{DeliverResponse, Receipt, State, deliver_response};

/// How the end of a command of this owner is told, over the broker and over gRPC alike.
pub fn response(owner: &str, method: &str, id: Id, ended: &Ended) -> DeliverResponse {
    let (state, outcome) = match &ended.result {
        CommandResult::Completed(response) => (State::Completed, deliver_response::Outcome::Response(response.clone())),
        CommandResult::Rejected(status) => (State::Rejected, deliver_response::Outcome::Error(status.clone())),
        CommandResult::Failed(status) => (State::Failed, deliver_response::Outcome::Error(status.clone())),
        // The receipt under this id is that of the other request, which went well perhaps.
        CommandResult::KeyReused(status) => {
            let outcome = Some(deliver_response::Outcome::Error(status.clone()));
            return DeliverResponse { receipt: None, outcome };
        }
    };
    let receipt = Receipt {
        command: subject::command_name(owner, method, id),
        state: state.into(),
        consistency_token: ended.token.clone(),
        replayed: ended.replayed,
    };
    DeliverResponse { receipt: Some(receipt), outcome: Some(outcome) }
}
