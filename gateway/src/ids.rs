//! Command ids: what makes a retry the same command.

use event::Id;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::Refusal;

const KEY_LEN_MAX: usize = 255;

/// The id of the command that this principal sends to this method under this idempotency key: always the same.
///
/// It begins with the time of the key, if that is a UUIDv7, so that rows of one time lie together; else with bits of the hash.
pub fn command_id(principal: &str, method: &str, key: &str) -> Id {
    let mut hash = Sha256::new();
    for part in [principal, method, key] {
        // The lengths keep ("a", "bc") and ("ab", "c") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let [rest @ .., b5, b4, b3, b2, b1, b0] = first_16(hash);
    Id::timed(time_of(key).unwrap_or_else(|| u64::from_be_bytes([0, 0, b5, b4, b3, b2, b1, b0])), rest)
}

/// An idempotency key as metadata brings it.
pub fn idempotency_key(text: &[u8]) -> Result<String, Refusal> {
    let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    if text.is_empty() || text.len() > KEY_LEN_MAX || !printable {
        return Err(Refusal::InvalidIdempotencyKey);
    }
    String::from_utf8(text.to_vec()).map_err(|_| Refusal::InvalidIdempotencyKey)
}

fn first_16(hash: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

fn time_of(key: &str) -> Option<u64> {
    let key = Uuid::try_parse(key).ok().filter(|key| key.get_version_num() == 7)?;
    let (seconds, nanos) = key.get_timestamp()?.to_unix();
    Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID_V7: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

    #[test]
    fn the_same_call_has_the_same_id_and_any_other_has_another() {
        let id = command_id("user/a", "m", "key");
        assert_eq!(id, command_id("user/a", "m", "key"));
        for other in [
            ("user/b", "m", "key"),
            ("user/a", "n", "key"),
            ("user/a", "m", "kez"),
            ("user/am", "", "key"),
            ("user/a", "mk", "ey"),
        ] {
            assert_ne!(id, command_id(other.0, other.1, other.2), "{other:?}");
        }
    }

    #[test]
    fn the_id_begins_with_the_time_of_a_uuid_v7() {
        let id = command_id("user/a", "m", UUID_V7);
        assert_eq!(id.as_bytes()[..6], Uuid::parse_str(UUID_V7).unwrap().as_bytes()[..6]);
        let other = command_id("user/b", "m", UUID_V7);
        assert_eq!(id.as_bytes()[..6], other.as_bytes()[..6]);
        assert_ne!(id, other);
    }

    #[test]
    fn other_keys_give_ids_that_begin_with_the_hash() {
        for key in ["key", "b1f8e5a0-4c4e-4a71-9b8c-2d5a3c7e9f00"] {
            assert_ne!(command_id("user/a", "m", key).as_bytes()[..6], command_id("user/b", "m", key).as_bytes()[..6]);
        }
    }

    #[test]
    fn a_key_is_1_to_255_printable_ascii_characters() {
        let longest = "k".repeat(255);
        for good in ["k", "order 7 / again~", UUID_V7, &longest] {
            assert_eq!(idempotency_key(good.as_bytes()).unwrap(), good);
        }
        let longer = "k".repeat(256);
        for bad in ["", "tab\t", "\u{e9}", "nul\0", &longer] {
            assert!(matches!(idempotency_key(bad.as_bytes()), Err(Refusal::InvalidIdempotencyKey)), "{bad:?}");
        }
    }
}
