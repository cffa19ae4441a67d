//! The replica of customers: where they live, and that there is such an account at all.

use event::{Id, Key};
use ledger::{Result, Subscription, Tx};
use proto::registration::v1::RegistrationNew;
use proto::user::v1::UserUpdated;

use crate::store::customer;

pub(crate) fn subscription() -> Subscription {
    Subscription::new("customers", 1).on(registered).on(updated)
}

/// Where the customer lives (empty if they do not tell), once their account is known here. None if there is no such account.
pub(crate) async fn country(cx: &Tx, id: Id) -> Result<Option<String>> {
    let account = Key::new(<RegistrationNew as event::Event>::AGGREGATE, id);
    let row = cx.find::<customer::Entity>(&id.to_string()).await?;
    cx.wait_for(&account, row.and_then(customer::Model::country))
}

async fn registered(cx: &mut Tx, event: RegistrationNew) -> Result<()> {
    customer::note_account(cx.write(), event.user_id, event.country).await
}

async fn updated(cx: &mut Tx, event: UserUpdated) -> Result<()> {
    customer::note_profile(cx.write(), event.user_id, event.country).await
}
