use event::{Key, Record, subject};
use ledger::{Aggregate as _, At, EventSet as _, Reader, Result};
use proto::order::v1::get_order_history_response::Entry;
use proto::order::v1::{GetOrderHistoryRequest, GetOrderHistoryResponse};

use super::own_order;
use crate::domain::{Event, Order};
use crate::error::id_in;

pub(crate) async fn get_order_history(cx: Reader, request: GetOrderHistoryRequest) -> Result<GetOrderHistoryResponse> {
    let id = id_in("order_id", &request.order_id)?;
    own_order(&cx, id).await?;
    let records = cx.history(&Key::new(Order::KIND, id)).await?;
    let mut order = Order::default();
    let entries = records.iter().map(|record| entry(&mut order, record)).collect::<Result<_>>()?;
    Ok(GetOrderHistoryResponse { entries })
}

/// Takes one event in, and tells what it did.
fn entry(order: &mut Order, record: &Record) -> Result<Entry> {
    let newer = || ledger::Error::Failed(format!("{} of {} is newer than this instance", record.type_name, record.key));
    let event = Event::decode(&record.type_name, &record.body).ok_or_else(newer)??;
    order.apply(&event, &At { id: record.key.id(), revision: record.revision, time: record.time });
    Ok(Entry {
        revision: record.revision,
        event: subject::kebab(&record.type_name),
        time: Some(record.time.into()),
        principal: record.principal.clone(),
        command_id: record.command_id.map(|id| id.to_string()).unwrap_or_default(),
        cause_id: record.cause_id.map(|id| id.to_string()).unwrap_or_default(),
        status: order.status.into(),
        payment_status: order.payment.into(),
        reason: if let Event::OrderCanceled(canceled) = event { canceled.reason } else { String::new() },
    })
}
