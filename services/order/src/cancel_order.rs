use ledger::{Result, Tx};
use proto::order::v1::{CancelOrderRequest, CancelOrderResponse};

use crate::domain::{Input, Order, decide};
use crate::error::id_in;

pub(crate) async fn cancel_order(cx: &mut Tx, request: CancelOrderRequest) -> Result<CancelOrderResponse> {
    let mut order = cx.load::<Order>(id_in("order_id", &request.order_id)?).await?;
    let events = decide(&order, Input::Cancel { by: cx.user()? })?;
    cx.append(&mut order, events).await?;
    Ok(CancelOrderResponse { order: Some((&*order).into()), receipt: None })
}
