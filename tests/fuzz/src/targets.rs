//! What is fed, one file each.

pub(crate) mod access_tokens;
pub(crate) mod calls;
pub(crate) mod consistency_tokens;
pub(crate) mod envelopes;
pub(crate) mod keys;
pub(crate) mod names;
pub(crate) mod page_tokens;
pub(crate) mod records;
pub(crate) mod refresh_tokens;
pub(crate) mod refusals;
pub(crate) mod requests;
pub(crate) mod seals;

use event::Id;

/// Some id, always the same.
fn id(n: u8) -> Id {
    Id::timed(1_700_000_000_000 + u64::from(n), [n; 10])
}

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The next bytes of an input: what a byte says how many they are. A short input has none.
fn take<'i>(input: &mut &'i [u8]) -> &'i [u8] {
    let Some((length, rest)) = input.split_first() else { return &[] };
    let (taken, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *input = rest;
    taken
}

/// What [`take`] takes.
fn given(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}
