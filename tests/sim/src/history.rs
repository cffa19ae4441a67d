//! What customers asked for, and everything they were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::Id;
use prost::Message as _;
use proto::command::v1::{DeliverResponse, State, deliver_response};

/// All that was asked. Clones share it.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<BTreeMap<Id, Told>>>);

/// One command, and what was told of it.
#[derive(Clone, Debug)]
pub struct Told {
    pub what: What,
    /// Different answers, of which there should be one.
    pub answers: Vec<Answer>,
    /// The same to those who asked for something else under its id once it was answered.
    pub others: Vec<Answer>,
    /// Its subject in the queue, if whoever asked left once it was there.
    pub left: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    AddCard,
    Place,
    /// Of this order.
    Cancel(Id),
    Rename,
    Logout,
    /// Something was asked for in a session that had ended.
    Intrude,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Completed(Vec<u8>),
    Rejected(Vec<u8>),
    Failed,
    /// The key was used for something else.
    KeyReused,
}

impl History {
    pub fn ask(&self, id: Id, what: What) {
        self.lock().entry(id).or_insert(Told { what, answers: Vec::new(), others: Vec::new(), left: None });
    }

    /// It was accepted, and nobody waits for its answer.
    pub fn leave(&self, id: Id, subject: String) {
        if let Some(told) = self.lock().get_mut(&id) {
            told.left = Some(subject);
        }
    }

    pub fn tell(&self, id: Id, response: &DeliverResponse) {
        if let Some(told) = self.lock().get_mut(&id) {
            let answer = Answer::of(response);
            if !told.answers.contains(&answer) {
                told.answers.push(answer);
            }
        }
    }

    /// Somebody asked for something else under the same id.
    pub fn tell_other(&self, id: Id, response: &DeliverResponse) {
        if let Some(told) = self.lock().get_mut(&id) {
            told.others.push(Answer::of(response));
        }
    }

    pub fn all(&self) -> BTreeMap<Id, Told> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    pub fn is_completed(&self) -> bool {
        matches!(self.answers.as_slice(), [Answer::Completed(_)])
    }
}

impl Answer {
    /// Whether it was the first time makes no difference.
    pub fn of(response: &DeliverResponse) -> Self {
        let Some(receipt) = &response.receipt else { return Self::KeyReused };
        let told = match &response.outcome {
            Some(deliver_response::Outcome::Response(response)) => response.to_vec(),
            Some(deliver_response::Outcome::Error(status)) => status.encode_to_vec(),
            None => Vec::new(),
        };
        match receipt.state() {
            State::Completed => Self::Completed([told, receipt.consistency_token.clone().into_bytes()].concat()),
            State::Rejected => Self::Rejected(told),
            _ => Self::Failed,
        }
    }
}
