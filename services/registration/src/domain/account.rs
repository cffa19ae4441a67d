use identity::STAFF;
use ledger::{Aggregate, At, event_set};
use proto::registration::v1::{RegistrationNew, StaffGranted, StaffRevoked};
use serde::{Deserialize, Serialize};

/// An account. What is known of the person is in its event alone, and the password in a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    is_staff: bool,
}

event_set!(
    pub(crate) enum Event {
        RegistrationNew,
        StaffGranted,
        StaffRevoked,
    }
);

impl Account {
    /// What its user may do beyond a customer's rights, as access tokens have it.
    pub(crate) fn roles(&self) -> Vec<String> {
        self.is_staff.then(|| STAFF.to_owned()).into_iter().collect()
    }

    /// Makes its user one of the staff, unless they are.
    pub(crate) fn grant_staff(&self, user_id: String, author: String) -> Option<Event> {
        (!self.is_staff).then(|| StaffGranted { user_id, author }.into())
    }

    /// The reverse.
    pub(crate) fn revoke_staff(&self, user_id: String, author: String) -> Option<Event> {
        self.is_staff.then(|| StaffRevoked { user_id, author }.into())
    }
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    const FOLD: i64 = 2;
    type Event = Event;

    fn apply(&mut self, event: &Event, _: &At) {
        match event {
            Event::RegistrationNew(_) => {}
            Event::StaffGranted(_) => self.is_staff = true,
            Event::StaffRevoked(_) => self.is_staff = false,
        }
    }
}
