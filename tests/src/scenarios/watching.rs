//! Watching an order: whichever instance changes it, whatever is away, and until the watcher is no longer let in.

use std::time::{Duration, Instant};

use millrace::demo::Customer;
use millrace::{Role, Shop};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{Order, OrderStatus, WatchOrderRequest};
use proto::registration::v1::LogoutRequest;
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use tonic::Code;

use crate::buying::{buy, buy_surely};
use crate::shop::TestShop;
use crate::stranger::Refusal;

fn is_processed(order: &Order) -> bool {
    order.status() == OrderStatus::Processed
}

/// Orders that are placed one after the other, so that either instance does something for most of them.
const ORDERS: usize = 12;

/// Without a bell it takes two seconds until a watcher looks again.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_watcher_hears_at_once_of_what_another_instance_did() {
    let shop = TestShop::on_postgres().await;
    let other = Shop::start(shop.settings().clone(), &[Role::Order]).await.unwrap();
    let (customer, card) = shop.customer_with_card().await;
    let mut slow = 0;
    for number in 0..ORDERS {
        let (_, id) = buy(&customer, &number.to_string(), &card).await.unwrap();
        let began = Instant::now();
        customer.watch(&id, is_processed).await.unwrap();
        slow += usize::from(began.elapsed() > AT_ONCE);
    }
    assert!(slow <= 2, "{slow} of {ORDERS} watchers were told late");
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_watcher_hears_of_a_change_while_the_broker_is_away() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.nats.kill();
    let (_, id) = buy_surely(&customer, "key", &card).await;
    let (watcher, watched) = (customer.clone(), id.clone());
    let watching =
        tokio::spawn(async move { watcher.watch(&watched, |order| order.status() == OrderStatus::Canceled).await });
    let canceled = crate::buying::retry(|| customer.cancel("cancel", &id)).await;
    assert_eq!(canceled.order.unwrap().status(), OrderStatus::Canceled);
    watching.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_the_session() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    // Then nothing happens to the order, and the stream would last.
    shop.stop_role(Role::Billing).await.unwrap();
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    let request = WatchOrderRequest { order_id: id, after_revision: 0 };
    let request = customer.request(request, None).unwrap();
    let mut changes = OrderServiceClient::new(shop.channel()).watch_order(request).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());
    log_out(&shop, &customer).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), changes.message()).await.unwrap();
    Refusal::of(&ended.unwrap_err()).is(Code::Unauthenticated, "SESSION_ENDED");
}

async fn log_out(shop: &TestShop, customer: &Customer) {
    let request = customer.request(LogoutRequest {}, Some("logout")).unwrap();
    RegistrationServiceClient::new(shop.channel()).logout(request).await.unwrap();
}
