//! The replica of customers: an order is taken only from somebody whose account is known here.

use event::{Id, Key};
use ledger::{Reads, Result, Subscription, Tx};
use proto::registration::v1::RegistrationNew;
use proto::user::v1::UserUpdated;

use crate::error::Error;
use crate::store::customer;

pub(crate) fn subscription() -> Subscription {
    Subscription::new("customers", 1).on(registered).on(updated)
}

/// Has a customer read with the rest of the batch.
pub(crate) fn read(id: Id, reads: &mut Reads) {
    reads.row::<customer::Entity>(id.to_string());
}

/// The customer, once their account is known here.
pub(crate) async fn wait_for(cx: &Tx, id: Id) -> Result<Id> {
    let row = cx.find::<customer::Entity>(&id.to_string()).await?;
    let found = row.is_some_and(|row| row.registered_at.is_some()).then_some(id);
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
