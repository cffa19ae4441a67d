use ledger::{Reader, Result};
use proto::order::v1::{ListOrdersRequest, ListOrdersResponse};

use super::page_token;
use crate::store::order_view;

const PAGE_SIZE: usize = 20;
const PAGE_SIZE_MAX: usize = 100;

pub(crate) async fn list_orders(cx: Reader, request: ListOrdersRequest) -> Result<ListOrdersResponse> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) | Err(_) => PAGE_SIZE,
        Ok(size) => size.min(PAGE_SIZE_MAX),
    };
    let older_than = page_token::read(&request.page_token)?;
    // One more than asked for, which tells whether there is a next page.
    let mut rows = order_view::list(cx.db(), cx.user()?, older_than, size as u64 + 1).await?;
    let more = rows.len() > size;
    rows.truncate(size);
    let next_page_token = rows.last().filter(|_| more).map(|(place, _)| page_token::write(*place)).unwrap_or_default();
    Ok(ListOrdersResponse { orders: rows.into_iter().map(|(_, order)| order).collect(), next_page_token })
}
