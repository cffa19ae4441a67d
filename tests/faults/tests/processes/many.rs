//! More than one of everything, each instance a process of its own: they compete for the same commands and events on one Postgres.

use millrace::Role;
use millrace::demo::{Customer, Person};
use millrace_faults::{Fleet, Shoppers, retry, settle};
use proto::registration::v1::LogoutRequest;
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use testkit::{NatsCluster, eventually};
use tonic::Code;
use tonic::transport::Channel;

const COMMANDS: &str = "millrace_commands_total";
const EVENTS: &str = "millrace_subscription_events_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_and_then_three_instances_of_each_service_share_the_work_and_every_order_ends_once() {
    let mut fleet = Fleet::start(2).await;
    let mut shoppers = Shoppers::enter(&fleet.gateways(), "tok_approved").await;
    shoppers.bought(20).await;
    all_work(&fleet).await;
    fleet.add_to_all().await;
    shoppers.bought(20).await;
    all_work(&fleet).await;
    let (bought, _) = shoppers.leave().await;
    settle(&fleet.processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_and_go_while_customers_buy_and_nobody_calls_more_than_twice() {
    let mut fleet = Fleet::start(2).await;
    let mut shoppers = Shoppers::enter(&fleet.gateways(), "tok_approved").await;
    shoppers.bought(8).await;
    for role in Role::services() {
        fleet.add(role, &[]).await;
        fleet.retire_oldest(role).await;
        shoppers.all_went_on().await;
    }
    // Fewer, and then as many as before.
    fleet.retire_oldest(Role::Order).await;
    shoppers.all_went_on().await;
    fleet.add(Role::Order, &[]).await;
    fleet.restart_first_gateway().await;
    shoppers.bought(8).await;
    let (bought, _) = shoppers.leave().await;
    settle(&fleet.processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_of_the_broker_is_killed_in_turn_and_every_order_ends_once() {
    let cluster = NatsCluster::start().await;
    let mut fleet = Fleet::gateways_at(cluster.url(), &[("MILLRACE_NATS_REPLICAS", "3".to_owned())]).await;
    fleet.add_to_all().await;
    fleet.add_to_all().await;
    let mut shoppers = Shoppers::enter(&fleet.gateways(), "tok_approved").await;
    shoppers.bought(8).await;
    assert!(cluster.keeps_all_thrice(), "a stream has fewer replicas than there are nodes");
    for node in cluster.nodes() {
        cluster.kill(node);
        // The others choose a leader for each stream that has lost its own, which takes them some seconds; meanwhile commands go to their owner.
        shoppers.bought(1).await;
        cluster.restart(node).await;
    }
    let (bought, _) = shoppers.leave().await;
    settle(&fleet.processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_whose_clocks_are_hours_apart_do_the_same_work() {
    let mut fleet = Fleet::start(1).await;
    // What an hour ahead would be over at once.
    fleet.set("MILLRACE_ORDER_DEADLINE", "0.5");
    for (role, offset) in
        [(Role::Order, "+1h"), (Role::Billing, "-1h"), (Role::User, "+1h"), (Role::Registration, "-1h")]
    {
        fleet.add(role, &clock(offset)).await;
    }
    let gateways = fleet.gateways();
    // Each order is pending for longer than it takes to look for deadlines that are over.
    let mut shoppers = Shoppers::enter(&gateways, "tok_late").await;
    shoppers.bought(30).await;
    all_work(&fleet).await;
    for gateway in gateways {
        leave_and_be_refused(gateway).await;
    }
    let (bought, _) = shoppers.leave().await;
    settle(&fleet.processes, &bought).await;
    for role in Role::services() {
        assert!(!fleet.processes.said(role, "the seal has expired"), "{role} seals or judges by a clock of its own");
    }
}

/// Whoever logs out is refused from then on.
async fn leave_and_be_refused(gateway: Channel) {
    let person =
        Person { address: "leaver@example.com", password: "a password of some length", name: "L", country: "DE" };
    let customer = retry(|| Customer::enter(gateway.clone(), &person)).await;
    retry(|| customer.orders()).await;
    retry(|| async {
        let request = customer.request(LogoutRequest {}, None)?;
        RegistrationServiceClient::new(gateway.clone()).logout(request).await
    })
    .await;
    eventually("the session has ended everywhere", async || {
        customer.orders().await.is_err_and(|status| status.code() == Code::Unauthenticated)
    })
    .await;
}

/// A clock that is wrong. Time that passes is not: what waits, waits as long as ever.
fn clock(offset: &str) -> [(&'static str, String); 3] {
    let library = std::env::var("MILLRACE_FAKETIME").unwrap_or_else(|_| {
        panic!(
            "MILLRACE_FAKETIME names no libfaketime: run `make test`, or set it to what `scripts/libfaketime` prints"
        )
    });
    [("LD_PRELOAD", library), ("FAKETIME", offset.to_owned()), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]
}

/// Each instance of order places orders and hears of payments, and each of billing hears of orders.
async fn all_work(fleet: &Fleet) {
    let placed = ["method=\"millrace.order.v1.OrderService/PlaceOrder\"", "outcome=\"completed\""];
    fleet.each_has(Role::Order, COMMANDS, &placed).await;
    fleet.each_has(Role::Order, EVENTS, &["subscription=\"payments\"", "outcome=\"applied\""]).await;
    fleet.each_has(Role::Billing, EVENTS, &["subscription=\"orders\"", "outcome=\"applied\""]).await;
}
