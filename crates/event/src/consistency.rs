use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::Message as _;
use proto::command::v1 as wire;

use crate::{Key, subject};

/// What a caller has seen, and whoever answers next must have seen, too. Opaque to clients and unsigned: all that it can do is to make its
/// bearer wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// At most [`ENTRIES_MAX`](Self::ENTRIES_MAX).
    pub entries: Vec<Seen>,
    /// The name of a command that had not ended.
    pub command: Option<String>,
}

/// A revision of a key, which is at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub key: Key,
    pub epoch: i64,
    pub revision: i64,
}

/// A text that is not a consistency token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a consistency token")]
pub struct InvalidToken;

impl ConsistencyToken {
    pub const ENTRIES_MAX: usize = 32;

    /// That of a command which has not ended.
    pub fn of_command(name: &str) -> Self {
        Self { entries: Vec::new(), command: Some(name.to_owned()) }
    }

    /// That of what was written. Of more keys than fit in, the first.
    pub fn of_entries(entries: impl IntoIterator<Item = Seen>) -> Self {
        Self { entries: entries.into_iter().take(Self::ENTRIES_MAX).collect(), command: None }
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |seen: &Seen| wire::consistency_token::Entry {
            key: seen.key.to_string(),
            epoch: seen.epoch,
            revision: seen.revision,
        };
        let entries = self.entries.iter().map(entry).collect();
        let token = wire::ConsistencyToken { entries, command: self.command.clone().unwrap_or_default() };
        f.write_str(&URL_SAFE_NO_PAD.encode(token.encode_to_vec()))
    }
}

impl FromStr for ConsistencyToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let token = wire::ConsistencyToken::decode(&*bytes).map_err(|_| InvalidToken)?;
        if token.entries.len() > Self::ENTRIES_MAX {
            return Err(InvalidToken);
        }
        let command = Some(token.command).filter(|name| !name.is_empty());
        if let Some(name) = &command {
            subject::parse_command_name(name).map_err(|_| InvalidToken)?;
        }
        let seen = |entry: wire::consistency_token::Entry| {
            let key = entry.key.parse().map_err(|_| InvalidToken)?;
            let Some(revision) = Some(entry.revision).filter(|revision| *revision > 0) else {
                return Err(InvalidToken);
            };
            Ok(Seen { key, epoch: entry.epoch, revision })
        };
        Ok(Self { entries: token.entries.into_iter().map(seen).collect::<Result<_, _>>()?, command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;

    fn seen(revision: i64) -> Seen {
        Seen { key: Key::new("order", Id::timed(1, [1; 10])), epoch: 1, revision }
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let name = subject::command_name("order", "millrace.order.v1.OrderService/PlaceOrder", Id::timed(1, [1; 10]));
        let token = ConsistencyToken { entries: vec![seen(1), seen(7)], command: Some(name) };
        assert_eq!(token.to_string().parse(), Ok(token));
        assert_eq!("".parse(), Ok(ConsistencyToken::default()));
    }

    #[test]
    fn what_we_did_not_make_is_refused() {
        let many = ConsistencyToken { entries: vec![seen(1); ConsistencyToken::ENTRIES_MAX + 1], command: None };
        let tokens = [
            many.to_string(),
            ConsistencyToken::of_entries([seen(0)]).to_string(),
            ConsistencyToken::of_command("order.place-order").to_string(),
            URL_SAFE_NO_PAD.encode([0xff; 8]),
            "rubbish!".to_owned(),
        ];
        for token in tokens {
            assert_eq!(token.parse::<ConsistencyToken>(), Err(InvalidToken), "{token}");
        }
    }

    #[test]
    fn more_keys_than_fit_in_are_cut_off() {
        let token = ConsistencyToken::of_entries((1..100).map(seen));
        assert_eq!(token.entries.len(), ConsistencyToken::ENTRIES_MAX);
        assert!(token.to_string().parse::<ConsistencyToken>().is_ok());
    }
}
