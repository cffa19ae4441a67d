use ledger::{Result, Tx};
use proto::order::v1::{PlaceOrderRequest, PlaceOrderResponse};

use crate::catalogue::Catalogue;
use crate::customers;
use crate::domain::{Input, Order, Placement, decide};
use crate::error::id_in;

pub(crate) async fn place_order(cx: &mut Tx, request: PlaceOrderRequest) -> Result<PlaceOrderResponse> {
    let payment_method_id = id_in("payment_method_id", &request.payment_method_id)?;
    let quote = cx.service::<Catalogue>()?.price(&request.lines)?;
    let customer_id = customers::wait_for(cx, cx.user()?).await?;
    let mut order = cx.load::<Order>(cx.command_id()?).await?;
    let placement = Placement {
        order_id: order.id(),
        customer_id,
        payment_method_id,
        quote,
        expected_total: request.expected_total.map(Into::into),
    };
    let events = decide(&order, Input::Place(placement))?;
    cx.append(&mut order, events).await?;
    Ok(PlaceOrderResponse { order: Some((&*order).into()), receipt: None })
}
