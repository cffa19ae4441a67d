//! Refresh tokens, and what is made of them.

use registration::reading::{Family, Judgement, RefreshToken};
use secrecy::ExposeSecret as _;

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target {
    name: "refresh_tokens",
    seeds: || session().0.into_iter().map(String::into_bytes).collect(),
    feed,
    short: 5_000,
};

fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(token) = text.parse::<RefreshToken>() else { return };
    assert_eq!(token.to_text().expose_secret(), text, "a token has one text");
    let (ours, family) = session();
    let judgement = family.judge(&token);
    match judgement {
        Judgement::Newest => assert_eq!(text, ours[3]),
        Judgement::AnswerLost => assert_eq!(text, ours[2]),
        // Only who was given a token of the session knows what they have in common: 16 bytes, from the 20th.
        Judgement::Reused => assert_eq!(text[28..46], ours[0][28..46], "nobody can guess that"),
        Judgement::Unknown => assert!(ours[..2].iter().all(|ours| ours != text), "ours is known"),
    }
    let next = family.next(judgement, &token, [9; 16]);
    assert_eq!(next.is_some(), matches!(judgement, Judgement::Newest | Judgement::AnswerLost));
}

/// The tokens that a session had, the newest last, and what is kept of them.
fn session() -> (Vec<String>, Family) {
    let mut token = RefreshToken::first(id(1), [1; 16], [2; 16]);
    let mut family = Family::of_login(&token);
    let mut texts = vec![token.to_text().expose_secret().to_owned()];
    for own in 3..6 {
        (token, family) = family.next(Judgement::Newest, &token, [own; 16]).unwrap();
        texts.push(token.to_text().expose_secret().to_owned());
    }
    (texts, family)
}
