use ledger::{Aggregate, At, event_set};
use proto::registration::v1::SigningKeyPublished;
use serde::{Deserialize, Serialize};

/// A key that signs access tokens. What may be known of it is in its event, and the rest in a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SigningKey;

event_set!(
    pub(crate) enum Event {
        SigningKeyPublished,
    }
);

impl Aggregate for SigningKey {
    const KIND: &'static str = "signing-key";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, _: &Event, _: &At) {}
}
