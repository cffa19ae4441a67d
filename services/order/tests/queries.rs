//! Reading orders, on both databases where it makes a difference.

#![cfg(test)]

mod shop;

use event::{Id, Micros};
use ledger::{Code, Rejection};
use proto::billing::v1::{PaymentRefundRequested, payment_failed};
use proto::order::v1::{
    GetOrderHistoryRequest, GetOrderHistoryResponse, GetOrderRequest, GetOrderResponse, ListOrdersRequest,
    ListOrdersResponse, Order, OrderStatus, PaymentStatus, WatchOrderRequest, WatchOrderResponse,
};
use shop::{Shop, axes, failed, key, order_of, processed};

async fn as_of(shop: &Shop, id: Id, moment: Micros) -> Result<Order, Rejection> {
    let request = GetOrderRequest { order_id: id.to_string(), as_of: Some(moment.into()) };
    shop.customer().ask::<_, GetOrderResponse>(request).await.map(|response| response.order.unwrap())
}

async fn list(shop: &Shop, page_size: i32, page_token: &str) -> Result<ListOrdersResponse, Rejection> {
    shop.customer().ask(ListOrdersRequest { page_size, page_token: page_token.to_owned() }).await
}

/// Orders of which several have the same moment.
async fn place_many(shop: &Shop, count: usize) -> Vec<String> {
    let mut placed = Vec::new();
    for n in 0..count {
        placed.push(shop.place_a_teapot().await.to_string());
        if n % 3 == 2 {
            shop.tick();
        }
    }
    placed
}

#[tokio::test]
async fn an_order_can_be_read_as_of_any_moment() {
    let shop = Shop::open().await;
    let before = shop.ledger.now();
    let placed = shop.tick();
    let id = shop.place_a_teapot().await;
    let paid = shop.tick();
    shop.hear(id, &processed()).await;
    let refunding = shop.tick();
    shop.hear(id, &PaymentRefundRequested::default()).await;
    let refusal = as_of(&shop, id, before).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (Code::NotFound, "ORDER_NOT_PLACED_YET"));
    assert_eq!(axes(&as_of(&shop, id, placed).await.unwrap()), (OrderStatus::Pending, PaymentStatus::None));
    let then = as_of(&shop, id, paid).await.unwrap();
    assert_eq!((axes(&then), then.revision), ((OrderStatus::Processed, PaymentStatus::Captured), 2));
    assert_eq!(as_of(&shop, id, refunding).await.unwrap(), shop.get(id).await);
}

#[tokio::test]
async fn a_moment_that_is_none_is_the_field_s_fault() {
    let shop = Shop::open().await;
    let order_id = shop.place_a_teapot().await.to_string();
    let as_of = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    let refusal = shop.customer().ask::<_, GetOrderResponse>(GetOrderRequest { order_id, as_of }).await.unwrap_err();
    assert_eq!((refusal.code, refusal.violations[0].0.as_str()), (Code::InvalidArgument, "as_of"));
}

#[tokio::test]
async fn a_stranger_learns_nothing_whether_there_is_an_order_or_not() {
    let shop = Shop::open().await;
    let stranger = shop.stranger();
    for order_id in [shop.place_a_teapot().await, shop.ledger.new_id()].map(|id| id.to_string()) {
        let as_of = Some(Micros(0).into());
        let get = stranger.ask::<_, GetOrderResponse>(GetOrderRequest { order_id: order_id.clone(), as_of }).await;
        let history = GetOrderHistoryRequest { order_id: order_id.clone() };
        let history = stranger.ask::<_, GetOrderHistoryResponse>(history).await;
        let watch = WatchOrderRequest { order_id, after_revision: 0 };
        let watch = stranger.watch::<_, WatchOrderResponse>(watch).await;
        for refusal in [get.unwrap_err(), history.unwrap_err(), watch.err().unwrap()] {
            assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, "ORDER_NOT_YOURS"));
        }
    }
}

async fn pages_hold_every_order_once_the_newest_first(shop: Shop) {
    let mut placed = place_many(&shop, 25).await;
    let (mut listed, mut token, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = list(&shop, 10, &token).await.unwrap();
        sizes.push(page.orders.len());
        listed.extend(page.orders);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert!(listed.is_sorted_by(|newer, older| time_of(newer) >= time_of(older)));
    let mut ids: Vec<_> = listed.into_iter().map(|order| order.order_id).collect();
    ids.sort();
    placed.sort();
    assert_eq!(ids, placed);
}

fn time_of(order: &Order) -> Micros {
    order.create_time.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn pages_hold_every_order_once_the_newest_first_on_sqlite() {
    pages_hold_every_order_once_the_newest_first(Shop::open().await).await;
}

#[tokio::test]
async fn pages_hold_every_order_once_the_newest_first_on_postgres() {
    pages_hold_every_order_once_the_newest_first(Shop::on_postgres().await).await;
}

#[tokio::test]
async fn a_page_is_20_orders_and_never_more_than_100() {
    let shop = Shop::open().await;
    place_many(&shop, 101).await;
    assert_eq!(list(&shop, 0, "").await.unwrap().orders.len(), 20);
    assert_eq!(list(&shop, i32::MAX, "").await.unwrap().orders.len(), 100);
}

#[tokio::test]
async fn a_full_last_page_is_the_end() {
    let shop = Shop::open().await;
    place_many(&shop, 2).await;
    assert_eq!(list(&shop, 2, "").await.unwrap().next_page_token, "");
}

#[tokio::test]
async fn a_customer_lists_their_own_orders_only_also_with_anothers_token() {
    let shop = Shop::open().await;
    place_many(&shop, 3).await;
    let token = list(&shop, 1, "").await.unwrap().next_page_token;
    let request = ListOrdersRequest { page_size: 0, page_token: token };
    let theirs: ListOrdersResponse = shop.stranger().ask(request).await.unwrap();
    assert!(theirs.orders.is_empty());
}

#[tokio::test]
async fn a_page_token_that_is_not_ours_is_refused() {
    let shop = Shop::open().await;
    let refusal = list(&shop, 0, "nonsense").await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (Code::InvalidArgument, "INVALID_PAGE_TOKEN"));
}

#[tokio::test]
async fn a_history_tells_who_by_which_command_and_because_of_what() {
    let shop = Shop::open().await;
    let command = shop.ledger.new_id();
    shop.customer().under(command).send(order_of(&[("piano", 1)])).await;
    let cause = shop.ledger.tell(command, &failed(payment_failed::Cause::Fraud));
    shop.ledger.deliver(cause.clone()).await;
    let request = GetOrderHistoryRequest { order_id: command.to_string() };
    let history: GetOrderHistoryResponse = shop.customer().ask(request).await.unwrap();
    let [created, canceled] = history.entries.as_slice() else { panic!("{history:?}") };
    assert_eq!(
        (created.revision, created.event.as_str(), created.status()),
        (1, "order-created", OrderStatus::Pending)
    );
    assert_eq!(created.principal, format!("user/{}", shop.customer));
    assert_eq!((created.command_id.clone(), created.cause_id.as_str()), (command.to_string(), ""));
    assert_eq!((canceled.revision, canceled.event.as_str()), (2, "order-canceled"));
    assert_eq!((canceled.status(), canceled.payment_status()), (OrderStatus::CanceledFraud, PaymentStatus::Failed));
    assert_eq!((canceled.cause_id.clone(), canceled.reason.as_str()), (cause.id.to_string(), "the amount is unusual"));
    assert_eq!(shop.ledger.events(&key(command)).await.len(), 2);
}
