//! What a caller has seen, as text or as the bytes in it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{ConsistencyToken, Key, Seen, subject};

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target { name: "consistency_tokens", seeds, feed, short: 10_000 };

fn feed(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        read(text);
    }
    read(&URL_SAFE_NO_PAD.encode(input));
}

fn read(text: &str) {
    let Ok(token) = text.parse::<ConsistencyToken>() else { return };
    assert!(token.entries.len() <= ConsistencyToken::ENTRIES_MAX);
    assert!(token.entries.iter().all(|seen| seen.revision > 0));
    let written = token.to_string();
    assert!(written.len() <= text.len(), "what is passed on has not grown");
    assert_eq!(written.parse(), Ok(token));
}

fn seeds() -> Vec<Vec<u8>> {
    let seen = |n: u8| Seen { key: Key::new("order", id(n)), epoch: 1, revision: n.into() };
    let name = subject::command_name("order", "millrace.order.v1.OrderService/PlaceOrder", id(1));
    let full = ConsistencyToken::of_entries((1..=32).map(seen));
    let both = ConsistencyToken { entries: vec![seen(1), seen(200)], command: Some(name) };
    let texts = [full.to_string(), both.to_string(), ConsistencyToken::default().to_string()];
    let bytes = texts.iter().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap()).collect::<Vec<_>>();
    texts.into_iter().map(String::into_bytes).chain(bytes).collect()
}
