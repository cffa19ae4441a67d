//! The replica of people's languages, for what is written to them.

use ledger::{Result, Subscription, Tx};
use proto::user::v1::UserUpdated;

use crate::store::locale;

pub(crate) fn subscription() -> Subscription {
    Subscription::new("users", 1).on(updated)
}

async fn updated(cx: &mut Tx, user: UserUpdated) -> Result<()> {
    locale::put(cx.write(), user.user_id, user.locale).await
}
