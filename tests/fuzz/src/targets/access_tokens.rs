//! Access tokens: as anybody may make them up, and as only our own key could have signed them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{Id, Micros};
use identity::token::{LEEWAY, TOKEN_LEN_MAX};
use identity::{Claims, Issuer, STAFF, SigningKey, TokenError, TokenVerifier};
use ring::signature::Ed25519KeyPair;
use secrecy::ExposeSecret as _;
use serde_json::Value as Json;

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target { name: "access_tokens", seeds, feed, short: 3_000 };

const NOW: Micros = Micros(1_700_000_000_000_000);

/// Who verifies, who could sign, and the one good token.
struct Known {
    verifier: TokenVerifier,
    pair: Ed25519KeyPair,
    issued: String,
}

thread_local! {
    static KNOWN: Known = Known {
        verifier: TokenVerifier::new([(key().key_id(), key().public_key())]),
        pair: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
        issued: issued(),
    };
}

fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    KNOWN.with(|known| {
        match known.verifier.verify(text, NOW) {
            Ok(_) => assert_eq!(text, known.issued, "a token that nobody issued is good"),
            Err(error) => {
                assert_ne!(text, known.issued, "the token that was issued is not good: {error}");
                assert!(error.to_string().len() < 200, "{error}");
            }
        }
        if let Some((header, claims)) = text.split_once('\n') {
            only_such_are_good(known, header, claims);
        }
    });
}

/// Even what our key has signed is good only if it says that it is an access token of ours, for whom, and for how long.
fn only_such_are_good(known: &Known, header: &str, claims: &str) {
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = known.pair.sign(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let Ok(read) = known.verifier.verify(&token, NOW) else { return };
    assert!(token.len() <= TOKEN_LEN_MAX);
    let [header, claims] = [header, claims].map(|text| serde_json::from_str::<Json>(text).unwrap());
    assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &"at+jwt".into()));
    assert_eq!((&header["kid"], &header["crit"]), (&key().key_id().into(), &Json::Null));
    assert_eq!((&claims["iss"], &claims["aud"]), (&"millrace".into(), &"millrace".into()));
    let id = |name: &str| claims[name].as_str().and_then(|text| text.parse::<Id>().ok());
    assert_eq!((id("sub"), id("sid")), (Some(read.user), Some(read.session)));
    assert_eq!(claims["exp"].as_i64().map(|seconds| Micros(seconds * 1_000_000)), Some(read.expires_at));
    assert!(NOW < read.expires_at.plus(LEEWAY), "it has expired");
    assert_eq!(known.verifier.verify(&token, read.expires_at.plus(LEEWAY)), Err(TokenError::Expired));
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn issued() -> String {
    let roles = vec![STAFF.to_owned()];
    let claims =
        Claims { user: id(1), session: id(2), roles, issued_at: NOW, expires_at: NOW.plus(Duration::from_mins(5)) };
    Issuer::new(key()).issue(&claims).unwrap().expose_secret().to_owned()
}

fn seeds() -> Vec<Vec<u8>> {
    let issued = issued();
    let parts: Vec<_> = issued.split('.').take(2).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let mut seeds = vec![parts.join(&b'\n')];
    for kind in
        [r#"{"alg":"none","typ":"at+jwt"}"#, r#"{"alg":"HS256","typ":"at+jwt"}"#, r#"{"alg":"EdDSA","typ":"JWT"}"#]
    {
        let header = URL_SAFE_NO_PAD.encode(kind);
        seeds.push([header.as_bytes(), &issued.as_bytes()[issued.find('.').unwrap()..]].concat());
        seeds.push([kind.as_bytes(), b"\n", &parts[1]].concat());
    }
    seeds.push(issued.into_bytes());
    seeds
}
