use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Id;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::error::Error;

/// What a client refreshes its session with. As text: base64url of the session's id (16 bytes), the generation (4) and the secret (32).
///
/// The first half of the secret is drawn at the login and stays, the second half is drawn anew for each token. So an old token can be told
/// from one that somebody made up, although its hash is no longer kept: a session's id alone is not enough to have it ended.
pub struct RefreshToken {
    pub session: Id,
    /// How many tokens of the session came before it, not counting those that were replaced unused.
    pub generation: u32,
    family: Half,
    own: Half,
}

type Half = Zeroizing<[u8; 16]>;

/// What is kept of a session's tokens: hashes, so that a copy of the table lets nobody in. SHA-256 is enough for 16 bytes of chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Of the newest token.
    pub generation: u32,
    /// Of what all tokens of the session have in common.
    pub in_common: [u8; 32],
    pub current: [u8; 32],
    /// Of the token that the newest one was given for. None after the login.
    pub previous: Option<[u8; 32]>,
}

/// What is made of a token that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the newest: the next one takes its place.
    Newest,
    /// It is the one before, and the newest was never used: its answer was lost. Another one takes the newest's place.
    AnswerLost,
    /// It was replaced by one that was used. Of two who have it, one is a thief, and nobody can tell which.
    Reused,
    /// It is none of ours, or was replaced before it was used.
    Unknown,
}

const LENGTH: usize = 16 + 4 + 16 + 16;

impl RefreshToken {
    /// The first token of a session. Both halves of its secret are drawn by chance.
    pub fn first(session: Id, family: [u8; 16], own: [u8; 16]) -> Self {
        Self { session, generation: 0, family: family.into(), own: own.into() }
    }

    /// A token of the same session. `own` is drawn by chance.
    fn another(&self, generation: u32, own: [u8; 16]) -> Self {
        Self { session: self.session, generation, family: self.family.clone(), own: own.into() }
    }

    pub fn to_text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.bytes().as_slice()).into()
    }

    /// Of the whole token, so that no part of it can be exchanged.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.bytes().as_slice()).into()
    }

    fn bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[..16].copy_from_slice(self.session.as_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_be_bytes());
        bytes[20..36].copy_from_slice(self.family.as_slice());
        bytes[36..].copy_from_slice(self.own.as_slice());
        bytes
    }
}

impl FromStr for RefreshToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice());
        if length != Ok(LENGTH) {
            return Err(Error::InvalidRefreshToken);
        }
        let (id, rest) = bytes.split_first_chunk().ok_or(Error::InvalidRefreshToken)?;
        let (generation, rest) = rest.split_first_chunk().ok_or(Error::InvalidRefreshToken)?;
        let (family, own) = rest.split_first_chunk().ok_or(Error::InvalidRefreshToken)?;
        let own = own.first_chunk().ok_or(Error::InvalidRefreshToken)?;
        let first = Self::first(Id::from_bytes(*id), *family, *own);
        Ok(Self { generation: u32::from_be_bytes(*generation), ..first })
    }
}

impl Family {
    pub fn of_login(first: &RefreshToken) -> Self {
        let in_common = Sha256::digest(first.family.as_slice()).into();
        Self { generation: first.generation, in_common, current: first.hash(), previous: None }
    }

    pub fn judge(&self, token: &RefreshToken) -> Judgement {
        let in_common: [u8; 32] = Sha256::digest(token.family.as_slice()).into();
        let hash = token.hash();
        let is_newest: bool = self.current.ct_eq(&hash).into();
        let is_previous: bool = self.previous.is_some_and(|previous| previous.ct_eq(&hash).into());
        match in_common.ct_eq(&self.in_common).into() {
            true if is_newest => Judgement::Newest,
            true if is_previous => Judgement::AnswerLost,
            true if token.generation < self.generation => Judgement::Reused,
            _ => Judgement::Unknown,
        }
    }

    /// The token that is given for one so judged, and the family with it. None if none is given.
    pub fn next(&self, judgement: Judgement, used: &RefreshToken, own: [u8; 16]) -> Option<(RefreshToken, Self)> {
        let generation = match judgement {
            Judgement::Newest => self.generation.checked_add(1)?,
            Judgement::AnswerLost => self.generation,
            Judgement::Reused | Judgement::Unknown => return None,
        };
        let next = used.another(generation, own);
        let family = Self { generation, current: next.hash(), previous: Some(used.hash()), ..self.clone() };
        Some((next, family))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn login() -> (RefreshToken, Family) {
        let first = RefreshToken::first(Id::timed(1, [1; 10]), [1; 16], [2; 16]);
        let family = Family::of_login(&first);
        (first, family)
    }

    /// Refreshes as often as there are bytes, each time with the newest token. All tokens, in their order.
    fn refreshed(owns: impl IntoIterator<Item = u8>) -> (Vec<RefreshToken>, Family) {
        let (first, mut family) = login();
        let mut tokens = vec![first];
        for own in owns {
            let newest = tokens.last().unwrap();
            let (next, after) = family.next(family.judge(newest), newest, [own; 16]).unwrap();
            family = after;
            tokens.push(next);
        }
        (tokens, family)
    }

    fn read(text: &str) -> RefreshToken {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let (tokens, family) = refreshed([3]);
        let text = tokens[1].to_text();
        assert_eq!(text.expose_secret().len(), 70);
        let read = read(text.expose_secret());
        assert_eq!((read.session, read.generation), (tokens[0].session, 1));
        assert_eq!(family.judge(&read), Judgement::Newest);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let text = login().0.to_text();
        let text = text.expose_secret();
        for text in ["", "x", &text[1..], &format!("{text}A"), &text.replace('A', "."), &"A".repeat(69)] {
            assert!(text.parse::<RefreshToken>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_good_until_the_next_one_was_used() {
        let (tokens, family) = refreshed([3, 4]);
        assert_eq!(family.judge(&tokens[2]), Judgement::Newest);
        assert_eq!(family.judge(&tokens[1]), Judgement::AnswerLost);
        assert_eq!(family.judge(&tokens[0]), Judgement::Reused);
    }

    #[test]
    fn an_answer_may_be_lost_again_and_again() {
        let (tokens, mut family) = refreshed([3, 4]);
        for own in 5..9 {
            let (next, after) = family.next(family.judge(&tokens[1]), &tokens[1], [own; 16]).unwrap();
            assert_eq!(after.judge(&next), Judgement::Newest);
            assert_eq!(after.judge(&tokens[1]), Judgement::AnswerLost);
            family = after;
        }
        // What was replaced unused is refused, and nothing worse: nobody has used its successor.
        assert_eq!(family.judge(&tokens[2]), Judgement::Unknown);
        assert_eq!(family.judge(&tokens[0]), Judgement::Reused);
    }

    #[test]
    fn one_who_knows_the_session_alone_can_do_nothing_to_it() {
        let (tokens, family) = refreshed([3, 4]);
        for generation in 0..4 {
            let made_up = RefreshToken { generation, ..RefreshToken::first(tokens[0].session, [9; 16], [9; 16]) };
            assert_eq!(family.judge(&made_up), Judgement::Unknown);
        }
    }

    #[test]
    fn a_token_of_another_session_is_not_good_even_with_the_same_secret() {
        let (tokens, family) = refreshed([3]);
        let other = Id::timed(2, [2; 10]);
        let moved = RefreshToken { session: other, ..read(tokens[1].to_text().expose_secret()) };
        assert_eq!(family.judge(&moved), Judgement::Unknown);
    }

    #[test]
    fn nothing_is_given_for_what_was_reused_or_is_unknown() {
        let (first, family) = login();
        for judgement in [Judgement::Reused, Judgement::Unknown] {
            assert!(family.next(judgement, &first, [3; 16]).is_none());
        }
    }
}
