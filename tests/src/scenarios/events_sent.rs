//! Every event of the table is really sent: what nobody sends, and what the table does not know, fails here.

use std::collections::BTreeSet;

use async_nats::jetstream::{self, stream};
use futures::TryStreamExt as _;
use millrace::Role;
use millrace::demo::Customer;
use proto::billing::v1::PaymentState;
use proto::order::v1::{Order, OrderStatus, PaymentStatus};
use proto::registration::v1::LogoutRequest;
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use proto::user::v1::user_service_client::UserServiceClient;
use proto::user::v1::{Profile, UpdateProfileRequest};
use testkit::eventually;

use crate::events::EVENTS;
use crate::scenarios::operator::operator;
use crate::shop::{TestShop, order_of};
use crate::stranger::Stranger;
use crate::wire::{ORDER_EVENTS, Wire, order_event};

/// An event's kebab name, the aggregate of its key, and its publisher.
type Sent = BTreeSet<(String, String, String)>;

#[tokio::test]
async fn every_event_of_the_table_is_sent_and_no_other() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    an_order_is_processed(&customer, &card).await;
    an_order_is_refused_as_a_fraud(&customer, &card).await;
    a_cancel_reaches_billing_first(&mut shop, &customer, &card).await;
    a_cancel_meets_the_charge(&customer).await;
    a_cancel_comes_before_order_hears_of_the_capture(&mut shop, &customer, &card).await;
    a_profile_is_changed(&customer).await;
    somebody_is_made_staff_and_is_no_more(&shop).await;
    a_session_is_ended(&customer).await;

    let table: Sent =
        EVENTS.iter().map(|(kebab, aggregate, domain, _)| (*kebab, *aggregate, *domain)).map(owned).collect();
    let mut sent = Sent::new();
    eventually("everything was published", async || {
        sent = events_on_streams(&shop).await;
        sent.len() >= table.len()
    })
    .await;
    assert_eq!(sent, table);
}

async fn an_order_is_processed(customer: &Customer, card: &str) {
    let order = order_of(customer, "processed", "teapot", card).await;
    let order = until(customer, &order, |order| order.status() != OrderStatus::Pending).await;
    assert_eq!(axes(&order), (OrderStatus::Processed, PaymentStatus::Captured));
}

async fn an_order_is_refused_as_a_fraud(customer: &Customer, card: &str) {
    let order = order_of(customer, "fraud", "piano", card).await;
    let order = until(customer, &order, |order| order.status() != OrderStatus::Pending).await;
    assert_eq!(axes(&order), (OrderStatus::CanceledFraud, PaymentStatus::Failed));
}

/// The stream loses the order while billing is away, so the cancel is the first that billing hears of it.
async fn a_cancel_reaches_billing_first(shop: &mut TestShop, customer: &Customer, card: &str) {
    shop.stop_role(Role::Billing).await.unwrap();
    let order = order_of(customer, "unheard of", "teapot", card).await;
    customer.cancel("cancel at once", &order).await.unwrap();
    let wire = Wire::of(shop).await;
    wire.message(ORDER_EVENTS, &order_event("order-canceled", &order)).await;
    wire.lose(ORDER_EVENTS, &order_event("order-created", &order)).await;
    shop.start_role(Role::Billing).await.unwrap();
    let order = until(customer, &order, |order| order.payment_status() == PaymentStatus::Voided).await;
    assert_eq!(axes(&order), (OrderStatus::Canceled, PaymentStatus::Voided));
}

/// The provider's answer is late, so the cancel finds the charge under way.
async fn a_cancel_meets_the_charge(customer: &Customer) {
    let slow = customer.add_card("tok_late", "DE").await.unwrap();
    let order = order_of(customer, "charging", "teapot", &slow).await;
    eventually("billing has heard of the order", async || customer.payment(&order).await.is_ok()).await;
    customer.cancel("cancel while charging", &order).await.unwrap();
    let order = until(customer, &order, |order| order.payment_status() == PaymentStatus::Refunded).await;
    assert_eq!(axes(&order), (OrderStatus::Canceled, PaymentStatus::Refunded));
}

/// The stream loses what billing said while order was away, so order knows nothing of the capture when the cancel comes.
async fn a_cancel_comes_before_order_hears_of_the_capture(shop: &mut TestShop, customer: &Customer, card: &str) {
    shop.stop_role(Role::Billing).await.unwrap();
    let order = order_of(customer, "captured", "teapot", card).await;
    shop.stop_role(Role::Order).await.unwrap();
    shop.start_role(Role::Billing).await.unwrap();
    eventually("the money was taken", async || {
        customer.payment(&order).await.is_ok_and(|payment| payment.state() == PaymentState::Captured)
    })
    .await;
    let lost = format!("test.evt.billing.payment.payment-processed.{order}");
    let billing = stream_of(shop, "billing").await;
    eventually("what billing said was lost", async || billing.purge().filter(&lost).await.unwrap().purged > 0).await;
    shop.start_role(Role::Order).await.unwrap();
    customer.cancel("cancel after the capture", &order).await.unwrap();
    let order = until(customer, &order, |order| order.payment_status() == PaymentStatus::Refunded).await;
    assert_eq!(axes(&order), (OrderStatus::Canceled, PaymentStatus::Refunded));
}

async fn a_profile_is_changed(customer: &Customer) {
    let profile = Profile { display_name: "Another name".to_owned(), country: "DE".to_owned(), ..Profile::default() };
    let request = UpdateProfileRequest { profile: Some(profile), update_mask: None };
    let mut users = UserServiceClient::new(customer.channel());
    users.update_profile(customer.request(request, Some("profile")).unwrap()).await.unwrap();
}

async fn somebody_is_made_staff_and_is_no_more(shop: &TestShop) {
    let (_, login) = Stranger::logged_in(shop, "staff@example.com").await;
    let operator = operator(shop);
    operator.grant_staff(&login.user_id).await.unwrap();
    operator.revoke_staff(&login.user_id).await.unwrap();
}

async fn a_session_is_ended(customer: &Customer) {
    let mut registration = RegistrationServiceClient::new(customer.channel());
    registration.logout(customer.request(LogoutRequest {}, Some("logout")).unwrap()).await.unwrap();
}

async fn until(customer: &Customer, order: &str, enough: impl Fn(&Order) -> bool + Send + Sync) -> Order {
    customer.watch(order, enough).await.unwrap()
}

fn axes(order: &Order) -> (OrderStatus, PaymentStatus) {
    (order.status(), order.payment_status())
}

/// What is on the streams, told by the subjects: `test.evt.<domain>.<aggregate>.<event>.<id>`.
async fn events_on_streams(shop: &TestShop) -> Sent {
    let mut sent = Sent::new();
    for role in Role::services() {
        let stream = stream_of(shop, role.name()).await;
        let subjects: Vec<(String, usize)> = stream.info_with_subjects(">").await.unwrap().try_collect().await.unwrap();
        for (subject, _) in subjects {
            let parts: Vec<_> = subject.split('.').collect();
            let ["test", "evt", domain, aggregate, event, _] = parts[..] else {
                panic!("a strange subject: {subject}")
            };
            sent.insert(owned((event, aggregate, domain)));
        }
    }
    sent
}

async fn stream_of(shop: &TestShop, domain: &str) -> stream::Stream {
    let client = async_nats::connect(shop.nats.url()).await.unwrap();
    jetstream::new(client).get_stream(format!("test_evt_{domain}")).await.unwrap()
}

fn owned((event, aggregate, domain): (&str, &str, &str)) -> (String, String, String) {
    (event.to_owned(), aggregate.to_owned(), domain.to_owned())
}
