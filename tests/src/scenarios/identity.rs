//! Tokens and sessions: who is let in, for how long, and what an end ends.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{Access, Id, Micros, Schema};
use identity::{Claims, Issuer, SigningKey};
use millrace::Role;
use prost::Message as _;
use proto::billing::v1::GetPaymentRequest;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::{DeliverResponse, State, WaitCommandRequest, WaitCommandResponse};
use proto::order::v1::{GetOrderRequest, Order, PlaceOrderRequest, PlaceOrderResponse, place_order_request::Line};
use proto::registration::v1::{LoginResponse, LogoutRequest, RefreshRequest, RefreshResponse, Tokens};
use proto::user::v1::GetProfileRequest;
use ring::rand::SystemRandom;
use ring::{hmac, rand};
use sea_orm::FromQueryResult;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tonic::{Code, Status};

use crate::sealing::Sealing;
use crate::shop::TestShop;
use crate::stranger::{
    GET_ORDER, GET_PAYMENT, GET_PROFILE, LOGOUT, PASSWORD, PLACE_ORDER, Refusal, Stranger, tally,
};

const DELIVER: &str = "millrace.command.v1.DeliveryService/Deliver";
const REFRESH: &str = "millrace.registration.v1.RegistrationService/Refresh";
const WAIT_COMMAND: &str = "millrace.command.v1.CommandService/WaitCommand";

#[derive(FromQueryResult)]
struct KeyPair {
    key_pair: String,
}

/// The key with which the shop signs its tokens, as its registration's database has it.
async fn signing_key(shop: &TestShop) -> SigningKey {
    let rows: Vec<KeyPair> = shop.query("registration", "select key_pair from signing_key order by drawn_at").await;
    SigningKey::from_pkcs8(&URL_SAFE_NO_PAD.decode(&rows[0].key_pair).unwrap()).unwrap()
}

fn token(key: &SigningKey, login: &LoginResponse, expires_at: Micros) -> String {
    let claims = Claims {
        user: login.user_id.parse().unwrap(),
        session: login.session_id.parse().unwrap(),
        roles: Vec::new(),
        issued_at: Micros(expires_at.0 - 600_000_000),
        expires_at,
    };
    Issuer::new(key.clone()).issue(&claims).unwrap().expose_secret().to_owned()
}

/// A good token's claims under another header, with another signature.
fn resigned(token: &str, algorithm: &str, key_id: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let header = json!({"typ": "at+jwt", "alg": algorithm, "kid": key_id}).to_string();
    let claims = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn nobody_gets_in_with_a_token_that_is_missing_expired_or_forged() {
    let shop = TestShop::start().await;
    let (somebody, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let key = signing_key(&shop).await;
    let later = ledger::process_now().plus(Duration::from_mins(10));
    let good = token(&key, &login, later);
    somebody.bearing(&good).send(GET_PROFILE, "").await.unwrap();
    let before = tally(&shop).await;

    let another = SigningKey::draw(&SystemRandom::new()).unwrap();
    let with_public_key = |bytes: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.public_key()), bytes).as_ref().to_vec()
    };
    let random = |_: &[u8]| rand::generate::<[u8; 64]>(&SystemRandom::new()).unwrap().expose().to_vec();
    let bad = [
        (token(&key, &login, Micros(later.0 - 1_200_000_000)), "EXPIRED_TOKEN"),
        (token(&another, &login, later), "INVALID_TOKEN"),
        (resigned(&good, "none", &key.key_id(), |_| Vec::new()), "INVALID_TOKEN"),
        (resigned(&good, "HS256", &key.key_id(), with_public_key), "INVALID_TOKEN"),
        (resigned(&good, "EdDSA", &key.key_id(), random), "INVALID_TOKEN"),
        (good[..good.len() - 4].to_owned(), "INVALID_TOKEN"),
        ("x".repeat(10_000), "INVALID_TOKEN"),
        (login.tokens.unwrap().refresh_token, "INVALID_TOKEN"),
    ];
    let schema = Schema::embedded().unwrap();
    let personal = schema.methods().filter(|method| matches!(method.access, Access::User | Access::Staff));
    for method in personal {
        let nobody = Stranger::outside(&shop).refused_bytes(&method.name, "").await;
        nobody.is(Code::Unauthenticated, "MISSING_TOKEN");
        for (token, reason) in &bad {
            somebody.bearing(token).refused_bytes(&method.name, "").await.is(Code::Unauthenticated, reason);
        }
    }
    assert_eq!(tally(&shop).await, before);
}

#[tokio::test]
async fn a_session_that_ended_is_refused_by_the_gateway_and_by_each_service_itself() {
    let shop = TestShop::start().await;
    let (somebody, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let (again, _) = (Stranger::outside(&shop).login("somebody@example.com", PASSWORD).await.unwrap(), ());
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
        reason(&inside.ask(DELIVER, &late).await.unwrap()).as_deref() == Some("SESSION_ENDED")
    })
    .await;
    let early = accepted_before.command(PLACE_ORDER, Id::timed(1, [2; 10]), &order().encode_to_vec());
    assert_eq!(reason(&inside.ask(DELIVER, &early).await.unwrap()), None);
}

#[tokio::test]
async fn a_command_accepted_before_the_logout_is_still_carried_out() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(100)).await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    shop.stop_role(Role::Order).await.unwrap();
    let placed: PlaceOrderResponse = somebody.with("idempotency-key", "key-1").ask(PLACE_ORDER, &order()).await.unwrap();
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
    let placed: PlaceOrderResponse = somebody.with("idempotency-key", "key-1").ask(PLACE_ORDER, &order()).await.unwrap();
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

#[tokio::test]
async fn tokens_are_refreshed_one_after_the_other_and_a_lost_answer_loses_nothing() {
    let shop = TestShop::start().await;
    let (somebody, login) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let nobody = Stranger::outside(&shop);
    let refresh = async |token: &str| {
        let request = RefreshRequest { refresh_token: token.to_owned() };
        let answer: Result<RefreshResponse, Status> = nobody.ask(REFRESH, &request).await;
        answer.map(|answer| answer.tokens.unwrap()).map_err(|status| Refusal::of(&status))
    };
    let first = login.tokens.unwrap().refresh_token;
    let lost: Tokens = refresh(&first).await.unwrap();
    let second = refresh(&first).await.unwrap();
    assert_ne!(lost.refresh_token, second.refresh_token);
    somebody.bearing(&second.access_token).send(GET_PROFILE, "").await.unwrap();
    refresh(&lost.refresh_token).await.unwrap_err().is(Code::Unauthenticated, "INVALID_REFRESH_TOKEN");
    let third = refresh(&second.refresh_token).await.unwrap();
    somebody.bearing(&third.access_token).send(GET_PROFILE, "").await.unwrap();

    // The first one comes back after its successor was used: it may be stolen, and the session ends.
    refresh(&first).await.unwrap_err().is(Code::Unauthenticated, "INVALID_REFRESH_TOKEN");
    refresh(&third.refresh_token).await.unwrap_err().is(Code::Unauthenticated, "INVALID_REFRESH_TOKEN");
    testkit::eventually("its access tokens end, too", async || {
        let refused = somebody.bearing(&third.access_token).send(GET_PROFILE, "").await;
        refused.is_err_and(|status| Refusal::of(&status).reason == "SESSION_ENDED")
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
