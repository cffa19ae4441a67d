//! A protobuf enumeration in a stored state: its number, which never changes, where its name may.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

pub(super) fn serialize<E: Copy + Into<i32>, S: Serializer>(value: &E, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32((*value).into())
}

pub(super) fn deserialize<'de, E: TryFrom<i32>, D: Deserializer<'de>>(deserializer: D) -> Result<E, D::Error> {
    let number = i32::deserialize(deserializer)?;
    E::try_from(number).map_err(|_| D::Error::custom(format_args!("no value has the number {number}")))
}
