use ledger::{Result, Tx};
use proto::order::v1::{CancelOrderRequest, CancelOrderResponse};

use crate::deadline::carry_out;
use crate::domain::{Input, Order};
use crate::error::id_in;

pub(crate) async fn cancel_order(cx: &mut Tx, request: CancelOrderRequest) -> Result<CancelOrderResponse> {
    let mut order = cx.load::<Order>(id_in("order_id", &request.order_id)?).await?;
    let by = cx.user()?;
    carry_out(cx, &mut order, Input::Cancel { by }).await?;
    Ok(CancelOrderResponse { order: Some((&*order).into()), receipt: None })
}
