//! The replica of customers: an order is taken only from somebody whose account is known here.

use event::{Id, Key};
use ledger::{Result, Subscription, Tx};
use proto::registration::v1::RegistrationNew;
use proto::user::v1::UserUpdated;

use crate::error::Error;
use crate::store::customer;

pub(crate) fn subscription() -> Subscription {
    Subscription::new("customers", 1).on(registered).on(updated)
}

/// The customer, once their account is known here.
pub(crate) async fn wait_for(cx: &Tx, id: Id) -> Result<Id> {
    let found = customer::is_registered(cx.db(), id).await?.then_some(id);
    let account = Key::new(<RegistrationNew as event::Event>::AGGREGATE, id);
    Ok(cx.wait_for(&account, found)?.ok_or(Error::UnknownCustomer)?)
}

async fn registered(cx: &mut Tx, event: RegistrationNew) -> Result<()> {
    let moment = cx.event()?.time;
    customer::note_registered(cx.write(), event.user_id, moment).await
}

async fn updated(cx: &mut Tx, event: UserUpdated) -> Result<()> {
    customer::note_name(cx.write(), event.user_id, event.display_name).await
}
