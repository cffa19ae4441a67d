//! Keys, as operators give them.

use std::str::FromStr;

use identity::{KeyError, MasterKey, OwnerKey, OwnerKeys, PairKey, SigningKey};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Target;
use crate::targets::seeds;

pub(crate) const TARGET: Target = Target {
    name: "keys",
    seeds: || {
        let master: MasterKey = "07".repeat(32).parse().unwrap();
        let (owner, pair) = (master.owner("order"), master.owner("order").pair("gateway"));
        let signing = SigningKey::from_seed(&[7; 32]).unwrap();
        let texts = [master.to_text(), owner.to_text(), pair.to_text(), signing.to_text()];
        let [master, owner, pair, signing] = texts.each_ref().map(secrecy::ExposeSecret::expose_secret);
        let rotating = format!("{owner},{owner}");
        seeds(&[master, owner, pair, signing, &rotating, &"07".repeat(32), &"Af".repeat(40)])
    },
    feed,
    short: 5_000,
};

fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    is_kept::<MasterKey>(text, MasterKey::to_text);
    is_kept::<OwnerKey>(text, OwnerKey::to_text);
    is_kept::<PairKey>(text, PairKey::to_text);
    is_kept::<SigningKey>(text, SigningKey::to_text);
    let commas = text.bytes().filter(|byte| *byte == b',').count();
    if text.parse::<OwnerKeys>().is_ok() {
        assert!(commas < identity::keys::OWNER_KEYS_MAX);
    }
}

/// A key that can be read is the same when it is written and read again.
fn is_kept<K: FromStr<Err = KeyError> + std::fmt::Debug>(text: &str, to_text: fn(&K) -> SecretString) {
    let Ok(key) = text.parse::<K>() else { return };
    let written = to_text(&key);
    let read = written.expose_secret().parse::<K>().unwrap();
    assert_eq!(to_text(&read).expose_secret(), written.expose_secret());
    let shown = format!("{key:?}");
    assert!(
        ![text, written.expose_secret()].iter().any(|secret| shown.contains(secret)),
        "a key shows itself to nobody"
    );
}
