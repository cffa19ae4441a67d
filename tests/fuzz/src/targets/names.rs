//! Ids, keys, and commands' names.

use event::{Id, Key, subject};

use crate::Target;
use crate::targets::{id, seeds};

pub(crate) const TARGET: Target = Target {
    name: "names",
    seeds: || {
        let (id, key) = (id(1).to_string(), Key::new("payment-method", id(2)).to_string());
        let command = subject::command_name("order", "millrace.order.v1.OrderService/PlaceOrder", self::id(3));
        seeds(&[&id, &key, &command, "a/b", "order.place-order/"])
    },
    feed,
    short: 10_000,
};

fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string(), text, "an id has one text");
        assert!(text.bytes().all(is_token), "an id is a token of a subject");
    }
    if let Ok(key) = text.parse::<Key>() {
        assert_eq!(key.to_string(), text, "a key has one text");
        let subject = subject::of_key("ns", "order", &key);
        assert_eq!(subject.split('.').count(), 6, "{subject}");
        assert!(key.aggregate().bytes().all(is_token));
    }
    if let Ok((domain, method, id)) = subject::parse_command_name(text) {
        assert_eq!(format!("{domain}.{method}/{id}"), text, "a command has one name");
        assert!([domain, method].iter().all(|part| !part.is_empty() && part.bytes().all(is_token)), "{text:?}");
    }
}

/// Whether it may stand in one token of a subject.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
