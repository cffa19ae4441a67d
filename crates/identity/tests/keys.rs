//! Keys are derived alike everywhere, are read as they were written, and never show.

#![cfg(test)]

use millrace_identity::keys::{KeyError, MasterKey, OWNER_KEYS_MAX, OwnerKey, OwnerKeys, PairKey};
use millrace_identity::{Issuer, SigningKey};
use ring::rand::SystemRandom;
use secrecy::ExposeSecret;

const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn master() -> MasterKey {
    MASTER.parse().unwrap()
}

#[test]
fn a_derivation_never_changes() {
    // These stand in configurations: another result would make every seal a forgery. Computed with another implementation of HKDF.
    let owner = master().owner("order");
    assert_eq!(owner.to_text().expose_secret(), "Bi4Ye-wiFElluiUNwja0Ual338wga26ac8iQS00whDA");
    assert_eq!(
        owner.pair("gateway").to_text().expose_secret(),
        "Gz6Fh1lIH1_653sLBQmrs1I7Goh3m0mRAbllKkH0rwM67PL7v0IRRA"
    );
}

#[test]
fn every_owner_and_every_caller_has_a_key_of_its_own() {
    let (order, billing) = (master().owner("order"), master().owner("billing"));
    assert_ne!(order.id(), billing.id());
    let pairs = [order.pair("gateway"), order.pair("billing"), billing.pair("gateway")].map(|pair| pair.to_text());
    let texts: std::collections::BTreeSet<_> = pairs.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(texts.len(), 3);
}

#[test]
fn keys_are_read_as_they_were_written() {
    let drawn = MasterKey::draw(&SystemRandom::new()).unwrap();
    let read: MasterKey = drawn.to_text().expose_secret().parse().unwrap();
    let owner: OwnerKey = read.owner("order").to_text().expose_secret().parse().unwrap();
    assert_eq!(owner.id(), drawn.owner("order").id());
    let pair: PairKey = owner.pair("gateway").to_text().expose_secret().parse().unwrap();
    assert_eq!(pair.owner_key_id(), owner.id());

    let signing = SigningKey::draw(&SystemRandom::new()).unwrap();
    let read: SigningKey = signing.to_text().expose_secret().parse().unwrap();
    assert_eq!((read.public_key(), read.key_id()), (signing.public_key(), signing.key_id()));
}

#[test]
fn two_drawn_keys_differ() {
    let random = SystemRandom::new();
    let [one, two] = [(); 2].map(|()| MasterKey::draw(&random).unwrap().owner("order").id());
    assert_ne!(one, two);
}

#[test]
fn what_is_no_key_is_refused() {
    for text in ["", "short", &MASTER[1..], &format!("{MASTER}00"), &MASTER.replace('0', "g"), &"é".repeat(32)] {
        assert_eq!(text.parse::<MasterKey>().unwrap_err(), KeyError::Malformed { bytes: 32 }, "{text}");
    }
    assert_eq!("AAAA".parse::<SigningKey>().unwrap_err(), KeyError::NotEd25519);
}

#[test]
fn an_owner_holds_a_few_keys_and_at_least_one() {
    let key = master().owner("order").to_text();
    let keys = |count| vec![key.expose_secret(); count].join(",");
    assert!(keys(OWNER_KEYS_MAX).parse::<OwnerKeys>().is_ok());
    assert_eq!(keys(OWNER_KEYS_MAX + 1).parse::<OwnerKeys>().unwrap_err(), KeyError::Count);
    assert_eq!(OwnerKeys::new(Vec::new()).unwrap_err(), KeyError::Count);
}

#[test]
fn no_key_shows_when_it_is_printed() {
    let owner = master().owner("order");
    let signing = SigningKey::draw(&SystemRandom::new()).unwrap();
    let printed = format!(
        "{:?} {owner:?} {:?} {:?} {signing:?} {:?}",
        master(),
        owner.pair("gateway"),
        OwnerKeys::from(owner.clone()),
        Issuer::new(signing.clone())
    );
    for secret in [master().to_text(), owner.to_text(), owner.pair("gateway").to_text(), signing.to_text()] {
        assert!(!printed.contains(secret.expose_secret()), "{printed}");
    }
    assert!(!printed.contains("0, 1, 2, 3"), "{printed}");
}
