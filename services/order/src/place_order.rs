use ledger::{Caller, Reads, Result, Tx};
use proto::order::v1::{PlaceOrderRequest, PlaceOrderResponse};

use crate::customers;
use crate::deadline::carry_out;
use crate::domain::{Input, Order, Placement};
use crate::error::id_in;
use crate::settings::Ordering;

/// What [`place_order`] looks up.
pub(crate) fn reads(caller: &Caller, _: &PlaceOrderRequest, reads: &mut Reads) {
    if let Some(user) = caller.user {
        customers::read(user, reads);
    }
}

pub(crate) async fn place_order(cx: &mut Tx, request: PlaceOrderRequest) -> Result<PlaceOrderResponse> {
    let payment_method_id = id_in("payment_method_id", &request.payment_method_id)?;
    let quote = cx.service::<Ordering>()?.catalogue.price(&request.lines)?;
    let customer_id = customers::wait_for(cx, cx.user()?).await?;
    let mut order = cx.load::<Order>(cx.command_id()?).await?;
    let placement = Placement {
        order_id: order.id(),
        customer_id,
        payment_method_id,
        quote,
        expected_total: request.expected_total.map(Into::into),
    };
    carry_out(cx, &mut order, Input::Place(placement)).await?;
    Ok(PlaceOrderResponse { order: Some((&*order).into()), receipt: None })
}
