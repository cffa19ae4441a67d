use std::ops::Deref;

use event::{Id, Key, Micros};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::rows::Rows;

/// Something whose state is the fold of its events, and which is changed under one lock.
pub trait Aggregate: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The part of its keys before the slash, such as `order`.
    const KIND: &'static str;
    /// Raised whenever [`apply`](Self::apply) or the form of the state changes: states that an older fold made are then folded anew.
    const FOLD: i64;
    type Event: EventSet;

    /// Takes one event in. Events are facts: this cannot fail.
    fn apply(&mut self, event: &Self::Event, at: &At);

    /// The rows that queries read of it: a function of the state alone, so that a wiped table can be written again.
    fn project(&self, _at: &At, _rows: &mut Rows) {}
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub id: Id,
    pub revision: i64,
    pub time: Micros,
}

/// The events of one aggregate, as an enumeration. Made by [`event_set!`](crate::event_set).
pub trait EventSet: Sized + Send {
    /// None if the type is not one of them.
    fn decode(type_name: &str, body: &[u8]) -> Option<Result<Self>>;
    /// The full protobuf name, and the encoded message.
    fn encode(&self) -> (String, Vec<u8>);
}

/// Makes an enumeration of protobuf events an [`EventSet`]: `event_set!(pub enum Event { OrderCreated, OrderProcessed });`
#[macro_export]
macro_rules! event_set {
    ($visibility:vis enum $set:ident { $($event:ident),+ $(,)? }) => {
        #[allow(clippy::enum_variant_names, reason = "the variants have the events' own names")]
        #[derive(Clone, Debug, PartialEq)]
        $visibility enum $set { $($event($event)),+ }

        $(impl From<$event> for $set {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })+

        impl $crate::EventSet for $set {
            fn decode(type_name: &str, body: &[u8]) -> Option<$crate::Result<Self>> {
                use $crate::proto::{Message as _, Name as _};
                $(if type_name == $event::full_name() {
                    return Some($event::decode(body).map(Self::$event).map_err(Into::into));
                })+
                None
            }

            fn encode(&self) -> (String, Vec<u8>) {
                use $crate::proto::{Message as _, Name as _};
                match self { $(Self::$event(event) => ($event::full_name(), event.encode_to_vec())),+ }
            }
        }
    };
}

/// An aggregate whose head is locked by the transaction that loaded it. [`Tx::append`](crate::Tx::append) takes nothing else.
#[derive(Debug)]
pub struct Loaded<A> {
    pub(crate) key: Key,
    pub(crate) revision: i64,
    pub(crate) state: A,
}

impl<A> Loaded<A> {
    pub const fn key(&self) -> &Key {
        &self.key
    }

    pub const fn id(&self) -> Id {
        self.key.id()
    }

    /// 0 if it does not exist yet.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    pub const fn exists(&self) -> bool {
        self.revision > 0
    }
}

impl<A> Deref for Loaded<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}
