//! Sessions: what their end ends, and what it does not.

use std::time::Duration;

use event::Id;
use millrace::Role;
use prost::Message as _;
use proto::billing::v1::GetPaymentRequest;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{DeliverResponse, State, WaitCommandRequest, WaitCommandResponse};
use proto::order::v1::{GetOrderRequest, Order, PlaceOrderRequest, PlaceOrderResponse, place_order_request::Line};
use proto::registration::v1::{LoginResponse, LogoutRequest};
use proto::user::v1::GetProfileRequest;
use tonic::Status;

use crate::sealing::{Sealing, deliver};
use crate::shop::TestShop;
use crate::stranger::{GET_ORDER, GET_PAYMENT, GET_PROFILE, LOGOUT, PASSWORD, PLACE_ORDER, Refusal, Stranger};

const WAIT_COMMAND: &str = "millrace.command.v1.CommandService/WaitCommand";

#[tokio::test]
async fn a_session_that_ended_is_refused_by_the_gateway_and_by_each_service_itself() {
    let shop = TestShop::start().await;
    let (somebody, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let again = Stranger::outside(&shop).login("somebody@example.com", PASSWORD).await.unwrap();
    somebody.call(LOGOUT, &LogoutRequest {}).await.unwrap();
    testkit::eventually("the gateway has heard of the logout", async || {
        let refused = somebody.send(GET_PROFILE, "").await;
        refused.is_err_and(|status| Refusal::of(&status).reason == "SESSION_ENDED")
    })
    .await;
    let order_id = || Id::timed(1, [1; 10]).to_string();
    for (role, method, body) in [
        (Role::User, GET_PROFILE, GetProfileRequest { user_id: String::new() }.encode_to_vec()),
        (Role::Order, GET_ORDER, GetOrderRequest { order_id: order_id(), as_of: None }.encode_to_vec()),
        (Role::Billing, GET_PAYMENT, GetPaymentRequest { order_id: order_id() }.encode_to_vec()),
    ] {
        let inside = Stranger::inside(&shop, role);
        let reason = async |session: &str| {
            let seal = Sealing::of(role, &login.user_id, session).query(method, &body);
            let asking = inside.with("millrace-seal", &identity::seal::to_text(&seal));
            asking.send(method, body.clone()).await.err().map(|status| Refusal::of(&status).reason)
        };
        testkit::eventually(&format!("{role} has heard of the logout"), async || {
            reason(&login.session_id).await.as_deref() == Some("SESSION_ENDED")
        })
        .await;
        assert_ne!(reason(&again.session_id).await.as_deref(), Some("SESSION_ENDED"), "the other session goes on");
    }
}

#[tokio::test]
async fn a_service_judges_a_command_as_of_when_it_was_accepted() {
    let shop = TestShop::start().await;
    let (somebody, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let accepted_before = Sealing::of(Role::Order, &login.user_id, &login.session_id);
    somebody.call(LOGOUT, &LogoutRequest {}).await.unwrap();
    let accepted_after = Sealing::of(Role::Order, &login.user_id, &login.session_id);

    let inside = Stranger::inside(&shop, Role::Order);
    let mut number = 0;
    testkit::eventually("order has heard of the logout", async || {
        number += 1;
        let late = accepted_after.command(PLACE_ORDER, Id::timed(number, [1; 10]), &order().encode_to_vec());
        reason(&deliver(&inside, &late).await).as_deref() == Some("SESSION_ENDED")
    })
    .await;
    let early = accepted_before.command(PLACE_ORDER, Id::timed(1, [2; 10]), &order().encode_to_vec());
    assert_eq!(reason(&deliver(&inside, &early).await), None);
}

#[tokio::test]
async fn a_command_accepted_before_the_logout_is_still_carried_out() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(100)).await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    shop.stop_role(Role::Order).await.unwrap();
    let placed: PlaceOrderResponse =
        somebody.with("idempotency-key", "key-1").ask(PLACE_ORDER, &order()).await.unwrap();
    let receipt = placed.receipt.unwrap();
    assert_eq!(receipt.state(), State::Accepted);
    somebody.call(LOGOUT, &LogoutRequest {}).await.unwrap();
    shop.start_role(Role::Order).await.unwrap();

    let again = Stranger::outside(&shop).login("somebody@example.com", PASSWORD).await.unwrap();
    assert_eq!(outcome(&shop, &again, &receipt.command).await.order_id, receipt.command.rsplit('/').next().unwrap());
}

#[tokio::test]
async fn a_command_that_the_broker_lost_is_sent_again_although_its_session_has_ended() {
    let mut shop = TestShop::with(|settings| {
        settings.limits.answer_wait = Duration::from_millis(100);
        settings.limits.look_after = Duration::from_millis(100);
    })
    .await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    shop.stop_role(Role::Order).await.unwrap();
    let placed: PlaceOrderResponse =
        somebody.with("idempotency-key", "key-1").ask(PLACE_ORDER, &order()).await.unwrap();
    let command = placed.receipt.unwrap().command;
    somebody.call(LOGOUT, &LogoutRequest {}).await.unwrap();
    let broker = async_nats::jetstream::new(async_nats::connect(shop.nats.url()).await.unwrap());
    assert!(broker.get_stream("test_cmd_order").await.unwrap().purge().await.unwrap().success);
    shop.start_role(Role::Order).await.unwrap();

    let again = Stranger::outside(&shop).login("somebody@example.com", PASSWORD).await.unwrap();
    testkit::eventually("the gateway sends it again", async || {
        let state = wait_command(&shop, &again, &command).await;
        state.is_ok_and(|answer| answer.receipt.unwrap().state() == State::Completed)
    })
    .await;
}

fn order() -> PlaceOrderRequest {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
    PlaceOrderRequest { lines, payment_method_id: Id::timed(1, [1; 10]).to_string(), expected_total: None }
}

/// Why a delivered command was refused; None, if it was carried out.
fn reason(response: &DeliverResponse) -> Option<String> {
    match response.outcome.as_ref().unwrap() {
        Outcome::Response(_) => None,
        Outcome::Error(error) => {
            let status = Status::with_details(error.code.into(), &error.message, error.encode_to_vec().into());
            Some(Refusal::of(&status).reason)
        }
    }
}

async fn wait_command(shop: &TestShop, login: &LoginResponse, name: &str) -> Result<WaitCommandResponse, Status> {
    let caller = Stranger::outside(shop).bearing(&login.tokens.as_ref().unwrap().access_token);
    caller.ask(WAIT_COMMAND, &WaitCommandRequest { command: name.to_owned(), timeout: None }).await
}

/// The order that a command came to.
async fn outcome(shop: &TestShop, login: &LoginResponse, name: &str) -> Order {
    use proto::command::v1::wait_command_response::Outcome;
    let answer = wait_command(shop, login, name).await.unwrap();
    let Some(Outcome::Response(response)) = answer.outcome else { panic!("{answer:?}") };
    PlaceOrderResponse::decode(response.value.as_slice()).unwrap().order.unwrap()
}
