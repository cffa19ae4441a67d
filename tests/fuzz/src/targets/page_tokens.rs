//! Places in lists.

use order::reading::{Place, page_token};

use crate::Target;
use crate::targets::{id, seeds};

pub(crate) const TARGET: Target = Target {
    name: "page_tokens",
    seeds: || {
        let place = |placed_at| page_token::write(Place { placed_at, order_id: id(1) });
        seeds(&[&place(1_700_000_000_123_456), &place(-1), ""])
    },
    feed,
    short: 10_000,
};

fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match page_token::read(text) {
        Ok(Some(place)) => assert_eq!(page_token::write(place), text, "a place has one token"),
        Ok(None) => assert!(text.is_empty()),
        Err(error) => assert!(!text.is_empty() && !error.to_string().is_empty()),
    }
}
