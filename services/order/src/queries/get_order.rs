use event::Micros;
use ledger::{Reader, Result};
use proto::order::v1::{GetOrderRequest, GetOrderResponse};

use super::own_order;
use crate::domain::Order;
use crate::error::{Error, id_in};

pub(crate) async fn get_order(cx: Reader, request: GetOrderRequest) -> Result<GetOrderResponse> {
    let id = id_in("order_id", &request.order_id)?;
    let order = own_order(&cx, id).await?;
    let Some(moment) = request.as_of else { return Ok(GetOrderResponse { order: Some(order) }) };
    let malformed = |_| Error::Malformed { field: "as_of".to_owned(), expected: "a valid timestamp" };
    let moment = Micros::try_from(moment).map_err(malformed)?;
    let (order, _) = cx.fold::<Order>(id, Some(moment)).await?.ok_or(Error::NotPlacedYet)?;
    Ok(GetOrderResponse { order: Some((&order).into()) })
}
