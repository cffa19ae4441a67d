//! What can be asked of the past: who did what to an order and why, how it was at a moment, and what others know of a customer.

use std::collections::BTreeSet;

use millrace::demo::Customer;
use prost_types::{FieldMask, Timestamp};
use proto::order::v1::get_order_history_response::Entry;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{GetOrderHistoryRequest, GetOrderRequest, ListOrdersRequest, Order, OrderStatus, PaymentStatus};
use proto::user::v1::user_service_client::UserServiceClient;
use proto::user::v1::{GetProfileRequest, Profile, UpdateProfileRequest};
use sea_orm::FromQueryResult;
use testkit::{eventually, eventually_some};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::shop::{TestShop, order_of};

#[tokio::test]
async fn a_history_tells_who_did_what_by_which_command_and_because_of_which_event() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let order = ended(&customer, "order", &card).await;

    let history = history(&customer, &order.order_id).await;
    let told: Vec<_> = history.iter().map(|entry| (entry.revision, entry.event.as_str(), entry.status())).collect();
    let expected = [(1, "order-created", OrderStatus::Pending), (2, "order-processed", OrderStatus::Processed)];
    assert_eq!(told, expected);

    let who: Vec<_> = history.iter().map(|entry| entry.principal.as_str()).collect();
    assert_eq!(who, [format!("user/{}", customer.user_id).as_str(), "service/billing"]);
    // The order has its command's id, and whatever followed is still that command's doing.
    assert!(history.iter().all(|entry| entry.command_id == order.order_id), "{history:?}");
    assert_eq!(history[0].cause_id, "");
    let causes: Vec<_> = history[1..].iter().map(|entry| entry.cause_id.clone()).collect();
    assert_eq!(causes, [event_of(&shop, "PaymentProcessed").await]);
}

#[tokio::test]
async fn a_cancel_stands_in_the_history_under_its_own_command() {
    let shop = TestShop::start().await;
    let customer = shop.customer().await;
    let slow = customer.add_card("tok_late", "DE").await.unwrap();
    let order = order_of(&customer, "order", "teapot", &slow).await;
    let command = customer.cancel("cancel", &order).await.unwrap().receipt.unwrap().command;

    let entry = history(&customer, &order).await.into_iter().find(|entry| entry.event == "order-canceled").unwrap();
    assert_eq!(entry.principal, format!("user/{}", customer.user_id));
    assert_eq!(command, format!("order.cancel-order/{}", entry.command_id));
    assert_eq!(entry.reason, "canceled by the customer");
}

#[tokio::test]
async fn an_order_can_be_read_as_of_any_moment() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let order = ended(&customer, "order", &card).await;
    let history = history(&customer, &order.order_id).await;
    let (first, last) = (history.first().unwrap(), history.last().unwrap());

    let then = as_of(&customer, &order.order_id, first.time).await.unwrap();
    assert_eq!((then.status(), then.payment_status()), (OrderStatus::Pending, PaymentStatus::None));
    assert_eq!((then.revision, then.update_time), (1, first.time));
    assert_eq!(as_of(&customer, &order.order_id, last.time).await.unwrap(), order);

    let before = first.time.map(|time| Timestamp { seconds: time.seconds - 1, ..time });
    assert_eq!(as_of(&customer, &order.order_id, before).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn pages_of_orders_tell_each_once_and_the_newest_first() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let mut placed = Vec::new();
    for number in 0..5 {
        placed.push(ended(&customer, &format!("order {number}"), &card).await.order_id);
    }
    let (mut told, mut sizes, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { page_size: 2, page_token };
        let mut orders = OrderServiceClient::new(customer.channel());
        let page = orders.list_orders(customer.request(request, None).unwrap()).await.unwrap().into_inner();
        sizes.push(page.orders.len());
        told.extend(page.orders.into_iter().map(|order| order.order_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    placed.reverse();
    assert_eq!((told, sizes), (placed, vec![2, 2, 1]));
}

#[tokio::test]
async fn a_profile_appears_because_somebody_registered() {
    let shop = TestShop::start().await;
    let customer = shop.customer().await;
    let profile = profile(&customer).await;
    assert_eq!((profile.user_id.as_str(), profile.display_name.as_str()), (customer.user_id.as_str(), "Customer"));
    assert_eq!((profile.country.as_str(), profile.locale.as_str()), ("DE", "en"));
}

#[tokio::test]
async fn a_changed_profile_reaches_the_replicas_and_changes_what_counts_as_fraud() {
    let shop = TestShop::start().await;
    let (customer, german) = shop.customer_with_card().await;
    assert_eq!(ended(&customer, "before", &german).await.status(), OrderStatus::Processed);

    let profile = Profile { country: "FR".to_owned(), locale: "fr".to_owned(), ..profile(&customer).await };
    let update_mask = Some(FieldMask { paths: vec!["country".to_owned(), "locale".to_owned()] });
    let request = UpdateProfileRequest { profile: Some(profile), update_mask };
    let mut users = UserServiceClient::new(customer.channel());
    users.update_profile(customer.request(request, Some("move")).unwrap()).await.unwrap();

    for service in ["billing", "order", "registration"] {
        eventually(&format!("{service} has heard of it"), async || {
            following(&shop, service).await.contains(&format!("user/{}", customer.user_id))
        })
        .await;
    }
    let refused = ended(&customer, "after", &german).await;
    assert_eq!(refused.status(), OrderStatus::CanceledFraud);
    assert!(refused.reason.contains("another country"), "{}", refused.reason);
    let french = customer.add_card("tok_approved", "FR").await.unwrap();
    assert_eq!(ended(&customer, "with the french card", &french).await.status(), OrderStatus::Processed);
}

/// An order of a teapot that was placed under a key, and has come to its end.
async fn ended(customer: &Customer, key: &str, card: &str) -> Order {
    let order = order_of(customer, key, "teapot", card).await;
    customer.watch(&order, |order| order.status() != OrderStatus::Pending).await.unwrap()
}

async fn history(customer: &Customer, order_id: &str) -> Vec<Entry> {
    let request = GetOrderHistoryRequest { order_id: order_id.to_owned() };
    let mut orders = OrderServiceClient::new(customer.channel());
    orders.get_order_history(customer.request(request, None).unwrap()).await.unwrap().into_inner().entries
}

async fn as_of(customer: &Customer, order_id: &str, moment: Option<Timestamp>) -> Result<Order, Status> {
    let request = GetOrderRequest { order_id: order_id.to_owned(), as_of: moment };
    let mut orders = OrderServiceClient::new(customer.channel());
    Ok(orders.get_order(customer.request(request, None)?).await?.into_inner().order.unwrap())
}

async fn profile(customer: &Customer) -> Profile {
    eventually_some("the profile appears", async || {
        let request = customer.request(GetProfileRequest::default(), None).unwrap();
        UserServiceClient::new(customer.channel()).get_profile(request).await.ok()?.into_inner().profile
    })
    .await
}

#[derive(FromQueryResult)]
struct EventId {
    event_id: Uuid,
}

#[derive(FromQueryResult)]
struct Cursor {
    key: String,
}

/// The id of billing's only event of this type.
async fn event_of(shop: &TestShop, name: &str) -> String {
    let sql = format!("select event_id from event_log where type_name = 'millrace.billing.v1.{name}'");
    let [event] = shop.query::<EventId>("billing", &sql).await.try_into().ok().unwrap();
    event.event_id.to_string()
}

/// The keys that a service has taken anything in of.
async fn following(shop: &TestShop, service: &str) -> BTreeSet<String> {
    let cursors = shop.query::<Cursor>(service, "select key from cursor where revision > 0").await;
    cursors.into_iter().map(|cursor| cursor.key).collect()
}
