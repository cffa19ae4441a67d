//! Tokens: who is let in with one, and how it is renewed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{Access, Micros, Schema};
use identity::{Claims, Issuer, SigningKey};
use proto::registration::v1::{LoginResponse, RefreshRequest, RefreshResponse, Tokens};
use ring::rand::SystemRandom;
use ring::{hmac, rand};
use sea_orm::FromQueryResult;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tonic::{Code, Status};

use crate::shop::TestShop;
use crate::stranger::{GET_PROFILE, Refusal, Stranger, tally};

const REFRESH: &str = "millrace.registration.v1.RegistrationService/Refresh";

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
    let with_public_key =
        |bytes: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.public_key()), bytes).as_ref().to_vec();
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
