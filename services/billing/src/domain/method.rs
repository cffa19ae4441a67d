use ledger::{Aggregate, At};
use proto::billing::v1::PaymentMethodAdded;
use serde::{Deserialize, Serialize};

ledger::event_set!(
    pub enum Event {
        PaymentMethodAdded,
    }
);

/// A way to pay, as far as others may know it: the card's token is in a table of its own and in no event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PaymentMethod {
    owner: String,
    country: String,
}

impl Aggregate for PaymentMethod {
    const KIND: &'static str = "payment-method";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, event: &Event, _at: &At) {
        let Event::PaymentMethodAdded(added) = event;
        self.owner.clone_from(&added.user_id);
        self.country.clone_from(&added.country);
    }
}
