use ledger::{Aggregate, At, event_set};
use proto::registration::v1::RegistrationNew;
use serde::{Deserialize, Serialize};

/// An account. What is known of the person is in its event alone, and the password in a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account;

event_set!(
    pub(crate) enum Event {
        RegistrationNew,
    }
);

impl Aggregate for Account {
    const KIND: &'static str = "account";
    const FOLD: i32 = 1;
    type Event = Event;

    fn apply(&mut self, _: &Event, _: &At) {}
}
