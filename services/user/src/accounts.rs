//! A profile appears because an account was opened.

use ledger::{Aggregate as _, Result, Subscription, Tx};
use proto::registration::v1::RegistrationNew;

use crate::domain::{User, appear};

pub(crate) fn subscription() -> Subscription {
    Subscription::new("accounts", 1).acts_on(User::KIND).on(registered)
}

async fn registered(cx: &mut Tx, account: RegistrationNew) -> Result<()> {
    let id = cx.event()?.key.id();
    let mut user = cx.load::<User>(id).await?;
    let appeared = appear(&user, account);
    cx.append(&mut user, appeared).await
}
