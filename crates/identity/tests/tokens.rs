//! A token is good if we signed it, as an access token, for this platform, and not too long ago.

#![cfg(test)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{Id, Micros};
use millrace_identity::token::{LEEWAY, TOKEN_LEN_MAX};
use millrace_identity::{Claims, Issuer, SigningKey, TokenError, TokenVerifier};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const NOW: Micros = Micros(1_700_000_000_000_000);
const LIFETIME: Duration = Duration::from_mins(5);

fn claims() -> Claims {
    Claims {
        user: Id::timed(1, [1; 10]),
        session: Id::timed(2, [2; 10]),
        roles: vec!["staff".into()],
        issued_at: NOW,
        expires_at: NOW.plus(LIFETIME),
    }
}

fn key() -> SigningKey {
    SigningKey::draw(&SystemRandom::new()).unwrap()
}

fn verifier(key: &SigningKey) -> TokenVerifier {
    TokenVerifier::new([(key.key_id(), key.public_key())])
}

fn token(key: &SigningKey) -> String {
    Issuer::new(key.clone()).issue(&claims()).unwrap().expose_secret().to_owned()
}

/// The token with its header and claims changed, signed by `sign`.
fn crafted(token: &str, change: impl FnOnce(&mut Value, &mut Value), sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut header = serde_json::from_slice(&parts.next().unwrap()).unwrap();
    let mut claims = serde_json::from_slice(&parts.next().unwrap()).unwrap();
    change(&mut header, &mut claims);
    let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", text(header), text(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The same, signed with the very key: an issuer of ours that meant something else.
fn ours(key: &SigningKey, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let pkcs8 = URL_SAFE_NO_PAD.decode(key.to_text().expose_secret()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    crafted(&token(key), change, |message| pair.sign(message).as_ref().to_vec())
}

#[test]
fn a_token_says_what_was_issued() {
    let key = key();
    assert_eq!(*verifier(&key).verify(&token(&key), NOW).unwrap(), claims());
    // Signed by hand it is the same, so the tests below refuse what they change and nothing else.
    assert_eq!(*verifier(&key).verify(&ours(&key, |_, _| {}), NOW).unwrap(), claims());
}

#[test]
fn a_key_is_the_same_whenever_it_is_made_of_the_same_seed() {
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    assert_eq!(SigningKey::from_seed(&[7; 32]).unwrap().public_key(), key.public_key());
    assert_ne!(SigningKey::from_seed(&[8; 32]).unwrap().public_key(), key.public_key());
    assert!(verifier(&key).verify(&token(&key), NOW).is_ok());
}

#[test]
fn a_token_expires_whether_cached_or_not() {
    let key = key();
    let end = NOW.plus(LIFETIME).plus(LEEWAY);
    let just_before = Micros(end.0 - 1);
    let verifier = verifier(&key);
    assert!(verifier.verify(&token(&key), just_before).is_ok());
    assert_eq!(verifier.verify(&token(&key), end), Err(TokenError::Expired));
    assert_eq!(verifier.verify(&token(&key), end), Err(TokenError::Expired));
    assert_eq!(self::verifier(&key).verify(&token(&key), end), Err(TokenError::Expired));
}

#[test]
fn an_unknown_key_is_named_so_that_it_can_be_fetched() {
    let key = key();
    let verifier = TokenVerifier::new([]);
    assert_eq!(verifier.verify(&token(&key), NOW), Err(TokenError::UnknownKey(key.key_id())));
    verifier.add_key(key.key_id(), key.public_key());
    assert!(verifier.verify(&token(&key), NOW).is_ok());
}

#[test]
fn a_withdrawn_key_takes_its_cached_tokens_along() {
    let (old, new) = (key(), key());
    let verifier = verifier(&old);
    assert!(verifier.verify(&token(&old), NOW).is_ok());
    verifier.set_keys([(new.key_id(), new.public_key())]);
    assert_eq!(verifier.verify(&token(&old), NOW), Err(TokenError::UnknownKey(old.key_id())));
    assert!(verifier.verify(&token(&new), NOW).is_ok());
    // A key that is replaced under the same name does not save them either.
    verifier.set_keys([(old.key_id(), new.public_key())]);
    assert_eq!(verifier.verify(&token(&old), NOW), Err(TokenError::Invalid));
}

#[test]
fn altering_any_character_is_noticed() {
    let key = key();
    let good = token(&key);
    let verifier = verifier(&key);
    assert!(verifier.verify(&good, NOW).is_ok());
    for at in 0..good.len() {
        let mut altered = good.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert!(verifier.verify(&altered, NOW).is_err(), "character {at}");
    }
}

#[test]
fn only_our_algorithm_counts() {
    let key = key();
    let verifier = verifier(&key);
    let unsigned = |alg| crafted(&token(&key), |header, _| header["alg"] = json!(alg), |_| Vec::new());
    for alg in ["none", "None", "NONE", "EdDSA", "RS256"] {
        assert_eq!(verifier.verify(&unsigned(alg), NOW), Err(TokenError::Invalid), "{alg}");
    }
    // The old trick: the public key, which everybody knows, as the secret of an HMAC.
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &key.public_key());
    let sign = |message: &[u8]| hmac::sign(&secret, message).as_ref().to_vec();
    let tricked = crafted(&token(&key), |header, _| header["alg"] = json!("HS256"), sign);
    assert_eq!(verifier.verify(&tricked, NOW), Err(TokenError::Invalid));
}

#[test]
fn a_token_of_ours_that_is_no_access_token_of_this_platform_is_refused() {
    let key = key();
    let refused: [fn(&mut Value, &mut Value); 12] = [
        |header, _| header["typ"] = json!("JWT"),
        |header, _| header["crit"] = json!(["exp"]),
        |header, _| header["kid"] = Value::Null,
        |header, _| header["kid"] = json!("x".repeat(65)),
        |_, claims| claims["iss"] = json!("somebody"),
        |_, claims| claims["aud"] = json!("somewhere"),
        |_, claims| claims["aud"] = json!(["millrace", "somewhere"]),
        |_, claims| claims["sub"] = json!("nobody"),
        |_, claims| claims["sid"] = Value::Null,
        |_, claims| claims["exp"] = Value::Null,
        |_, claims| claims["exp"] = json!(i64::MAX),
        |_, claims| claims["exp"] = json!("never"),
    ];
    for (n, change) in refused.into_iter().enumerate() {
        assert_eq!(verifier(&key).verify(&ours(&key, change), NOW), Err(TokenError::Invalid), "number {n}");
    }
}

#[test]
fn somebody_elses_signature_under_our_key_id_is_refused() {
    let (key, other) = (key(), key());
    let forged = ours(&other, |header, _| header["kid"] = json!(key.key_id()));
    assert_eq!(verifier(&key).verify(&forged, NOW), Err(TokenError::Invalid));
}

#[test]
fn what_is_no_token_is_refused() {
    let verifier = verifier(&key());
    for text in ["", ".", "..", "a.b.c", "ünïcode", &"x".repeat(TOKEN_LEN_MAX + 1), &".".repeat(TOKEN_LEN_MAX)] {
        assert_eq!(verifier.verify(text, NOW), Err(TokenError::Invalid), "{text}");
    }
}
