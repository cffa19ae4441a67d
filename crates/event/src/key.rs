use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::{Id, InvalidId};

/// Names one aggregate: its kind and its id, written `order/<id>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kept in place: keys are copied for each row and each lock.
    aggregate: SmolStr,
    id: Id,
}

/// A text that is not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    #[error("a key is an aggregate's kind (a-z and hyphens), a slash and an id")]
    Form,
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl Key {
    pub const fn new(aggregate: &'static str, id: Id) -> Self {
        Self { aggregate: SmolStr::new_static(aggregate), id }
    }

    /// The kind of the aggregate, such as `order`.
    pub fn aggregate(&self) -> &str {
        &self.aggregate
    }

    pub const fn id(&self) -> Id {
        self.id
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate, self.id)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let (aggregate, id) = text.split_once('/').ok_or(InvalidKey::Form)?;
        let well_formed = !aggregate.is_empty() && aggregate.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if !well_formed {
            return Err(InvalidKey::Form);
        }
        Ok(Self { aggregate: aggregate.into(), id: id.parse()? })
    }
}
