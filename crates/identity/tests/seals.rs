//! A seal convinces its owner of exactly what was sealed, and of nothing else.

#![cfg(test)]

use std::time::Duration;

use event::{Id, Micros};
use millrace_identity::seal::{self, SEAL_LEN_MAX};
use millrace_identity::{MasterKey, OwnerKeys, Principal, SealError, Sealer, Verified, Verifier};
use proto::Message;
use proto::command::v1::{Seal, Statement};

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
const BODY: &[u8] = b"an encoded request";
const NOW: Micros = Micros(1_700_000_000_000_000);

fn master(byte: u8) -> MasterKey {
    format!("{byte:02x}").repeat(32).parse().unwrap()
}

fn sealer(caller: &str) -> Sealer {
    Sealer::new(caller, [("order".to_owned(), master(1).owner("order").pair(caller))])
}

fn order() -> Verifier {
    Verifier::new(master(1).owner("order"))
}

fn customer() -> Principal {
    Principal {
        user: Some(Id::timed(1, [1; 10])),
        session: Some(Id::timed(2, [2; 10])),
        roles: vec!["staff".into()],
        caller: "gateway".into(),
    }
}

fn command() -> Statement {
    let statement = seal::statement(&customer(), METHOD, BODY, NOW, NOW.plus(Duration::from_hours(24)));
    Statement { command_id: Id::timed(3, [3; 10]).to_string(), ..statement }
}

fn sealed() -> Seal {
    sealer("gateway").seal("order", &command()).unwrap()
}

#[test]
fn the_owner_learns_what_the_caller_stated() {
    let verified = order().verify(&sealed(), METHOD, BODY).unwrap();
    let expected = Verified {
        principal: customer(),
        command_id: Some(Id::timed(3, [3; 10])),
        request_hash: seal::request_hash(BODY),
        accepted_at: NOW,
        not_after: NOW.plus(Duration::from_hours(24)),
        anonymous: false,
    };
    assert_eq!(verified, expected);
    assert_eq!(verified.principal.name(), format!("user/{}", Id::timed(1, [1; 10])));
}

#[test]
fn a_service_speaks_in_its_own_name() {
    let statement = seal::statement(&Principal::service("billing"), METHOD, BODY, NOW, NOW);
    let seal = sealer("billing").seal("order", &statement).unwrap();
    let verified = order().verify(&seal, METHOD, BODY).unwrap();
    assert_eq!((verified.principal.name().as_str(), verified.command_id), ("service/billing", None));
}

#[test]
fn altering_any_bit_of_it_is_noticed() {
    let good = sealed();
    let altered = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in 0..good.statement.len() * 8 {
        let seal = Seal { statement: altered(&good.statement, bit).into(), ..good.clone() };
        assert_eq!(order().verify(&seal, METHOD, BODY), Err(forged("gateway")), "bit {bit} of the statement");
    }
    for bit in 0..good.mac.len() * 8 {
        let seal = Seal { mac: altered(&good.mac, bit).into(), ..good.clone() };
        assert_eq!(order().verify(&seal, METHOD, BODY), Err(forged("gateway")), "bit {bit} of the mac");
    }
    for bit in 0..good.key_id.len() * 8 {
        let seal = Seal { key_id: altered(&good.key_id, bit).into(), ..good.clone() };
        assert!(order().verify(&seal, METHOD, BODY).unwrap_err().may_become_good(), "bit {bit} of the key's id");
    }
    for bit in 0..good.caller.len() * 8 {
        let Ok(caller) = String::from_utf8(altered(good.caller.as_bytes(), bit)) else { continue };
        let error = order().verify(&Seal { caller, ..good.clone() }, METHOD, BODY).unwrap_err();
        assert!(!error.may_become_good(), "bit {bit} of the caller: {error}");
    }
    for bit in 0..BODY.len() * 8 {
        assert_eq!(
            order().verify(&good, METHOD, &altered(BODY, bit)),
            Err(SealError::WrongBody),
            "bit {bit} of the body"
        );
    }
}

#[test]
fn a_shortened_or_absent_mac_is_forged() {
    for length in 0..32 {
        let seal = Seal { mac: sealed().mac.slice(..length), ..sealed() };
        assert_eq!(order().verify(&seal, METHOD, BODY), Err(forged("gateway")));
    }
}

#[test]
fn a_seal_is_for_one_method() {
    let error = order().verify(&sealed(), "millrace.order.v1.OrderService/CancelOrder", BODY);
    assert_eq!(error, Err(SealError::WrongMethod { sealed: METHOD.into() }));
}

#[test]
fn a_caller_cannot_speak_for_another() {
    let seal = Seal { caller: "gateway".into(), ..sealer("billing").seal("order", &command()).unwrap() };
    assert_eq!(order().verify(&seal, METHOD, BODY), Err(forged("gateway")));
}

#[test]
fn a_seal_for_one_owner_means_nothing_to_another() {
    let billing = Verifier::new(master(1).owner("billing"));
    assert!(billing.verify(&sealed(), METHOD, BODY).unwrap_err().may_become_good());
    // Not even if it claims to be under the other's key.
    let seal = Seal { key_id: master(1).owner("billing").id().to_vec().into(), ..sealed() };
    assert_eq!(billing.verify(&seal, METHOD, BODY), Err(forged("gateway")));
}

#[test]
fn during_a_rotation_old_and_new_seals_are_good() {
    let keys = |masters: &[u8]| OwnerKeys::new(masters.iter().map(|m| master(*m).owner("order")).collect()).unwrap();
    assert!(Verifier::new(keys(&[2, 1])).verify(&sealed(), METHOD, BODY).is_ok());
    let early = Verifier::new(keys(&[2])).verify(&sealed(), METHOD, BODY);
    assert_eq!(early, Err(SealError::UnknownKey { caller: "gateway".into() }));
}

#[test]
fn a_caller_recognises_its_own_seals_and_no_others() {
    let gateway = sealer("gateway");
    assert_eq!(gateway.verify_own("order", &sealed(), METHOD, BODY).unwrap().principal, customer());
    assert_eq!(
        gateway.verify_own("order", &Seal { mac: vec![0; 32].into(), ..sealed() }, METHOD, BODY),
        Err(forged("gateway"))
    );
    let others = sealer("billing").seal("order", &command()).unwrap();
    assert!(gateway.verify_own("order", &others, METHOD, BODY).is_err());
    assert_eq!(gateway.seal("user", &command()), Err(SealError::NoKey { owner: "user".into() }));
}

#[test]
fn a_seal_is_read_back_from_its_text() {
    assert_eq!(seal::from_text(&seal::to_text(&sealed())), Ok(sealed()));
    assert_eq!(seal::from_bytes(&sealed().encode_to_vec()), Ok(sealed()));
    for text in ["!", "_w", &"A".repeat(SEAL_LEN_MAX + 1)] {
        assert!(matches!(seal::from_text(text), Err(SealError::Malformed(_))), "{text}");
    }
}

#[test]
fn a_caller_without_a_proper_name_is_refused() {
    for caller in ["", "two words", "line\nbreak", &"x".repeat(65)] {
        let seal = Seal { caller: caller.to_owned(), ..sealed() };
        assert!(matches!(order().verify(&seal, METHOD, BODY), Err(SealError::Malformed(_))), "{caller:?}");
    }
}

#[test]
fn an_honest_caller_that_states_nonsense_is_refused() {
    let seal = sealer("gateway").seal("order", &Statement { user_id: "nobody".into(), ..command() }).unwrap();
    assert_eq!(order().verify(&seal, METHOD, BODY), Err(SealError::Malformed("its user's id")));
}

fn forged(caller: &str) -> SealError {
    SealError::Forged { caller: caller.into() }
}
