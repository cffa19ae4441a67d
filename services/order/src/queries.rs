//! What customers can ask of their own orders.

mod get_order;
mod get_order_history;
mod list_orders;
pub mod page_token;
mod watch_order;

pub(crate) use get_order::get_order;
pub(crate) use get_order_history::get_order_history;
pub(crate) use list_orders::list_orders;
pub(crate) use watch_order::watch_order;

use event::Id;
use ledger::{Reader, Result};
use proto::order::v1;

use crate::error::Error;
use crate::store::order_view;

/// The order, if it is the caller's. Asked before anything else is told about it.
async fn own_order(cx: &Reader, id: Id) -> Result<v1::Order> {
    let order = order_view::find(cx.db(), cx.user()?, id).await?;
    Ok(order.ok_or(Error::NotYours)?)
}
