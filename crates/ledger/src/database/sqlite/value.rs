//! Values on their way between SQLite and sea-orm.

use std::fmt;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Row};
use sea_orm::sea_query::Value;
use sea_orm::{DbErr, ProxyRow, Statement};

use super::refusal::refused;

/// What a statement answers with: the columns' names, and what each holds.
pub(super) fn columns(statement: &CachedStatement<'_>) -> Vec<(String, Declared)> {
    statement.columns().iter().map(|column| (column.name().to_owned(), Declared::of(column.decl_type()))).collect()
}

pub(super) fn row(columns: &[(String, Declared)], row: &Row<'_>) -> Result<ProxyRow, DbErr> {
    let value = |index, declared: Declared| declared.value(row.get_ref(index).map_err(refused)?);
    let named =
        columns.iter().enumerate().map(|(index, (name, declared))| Ok((name.clone(), value(index, *declared)?)));
    Ok(ProxyRow::new(named.collect::<Result<_, DbErr>>()?))
}

/// What a column holds that SQLite itself cannot tell: it knows one kind of whole number, and sea-orm gives a value to who asks for just its
/// kind, and to others as if there were none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Declared {
    Boolean,
    SmallInteger,
    Uuid,
    Plain,
}

impl Declared {
    fn of(column: Option<&str>) -> Self {
        match column {
            Some("boolean") => Self::Boolean,
            Some("smallint") => Self::SmallInteger,
            Some("uuid_text") => Self::Uuid,
            _ => Self::Plain,
        }
    }

    fn value(self, value: ValueRef<'_>) -> Result<Value, DbErr> {
        Ok(match (self, value) {
            (_, ValueRef::Null) => Value::BigInt(None),
            (Self::Boolean, ValueRef::Integer(number)) => (number != 0).into(),
            (Self::SmallInteger, ValueRef::Integer(number)) => i16::try_from(number).map_err(unreadable)?.into(),
            (_, ValueRef::Integer(number)) => number.into(),
            (_, ValueRef::Real(number)) => number.into(),
            (_, ValueRef::Text(text)) => std::str::from_utf8(text).map_err(unreadable)?.into(),
            (Self::Uuid, ValueRef::Blob(bytes)) => uuid::Uuid::from_slice(bytes).map_err(unreadable)?.into(),
            (_, ValueRef::Blob(bytes)) => bytes.into(),
        })
    }
}

fn unreadable(error: impl fmt::Display) -> DbErr {
    DbErr::Type(error.to_string())
}

/// What is bound to a statement.
pub(super) fn values(statement: &Statement) -> Result<Vec<ToSqlOutput<'_>>, DbErr> {
    statement.values.iter().flat_map(|values| &values.0).map(bound).collect()
}

fn bound(value: &Value) -> Result<ToSqlOutput<'_>, DbErr> {
    let bound = match value {
        Value::Bool(value) => value.map(i64::from).map(ValueRef::Integer),
        Value::SmallInt(value) => value.map(i64::from).map(ValueRef::Integer),
        Value::Int(value) => value.map(i64::from).map(ValueRef::Integer),
        Value::BigInt(value) => value.map(ValueRef::Integer),
        Value::BigUnsigned(value) => value.map(i64::try_from).transpose().map_err(unreadable)?.map(ValueRef::Integer),
        Value::String(value) => value.as_ref().map(|text| ValueRef::Text(text.as_bytes())),
        Value::Bytes(value) => value.as_ref().map(|bytes| ValueRef::Blob(bytes)),
        Value::Uuid(value) => value.as_ref().map(|uuid| ValueRef::Blob(uuid.as_bytes())),
        // The value itself is not told: it may be anybody's.
        other => return Err(DbErr::Type(format!("no table has a column for a {:?}", other.array_type()))),
    };
    Ok(ToSqlOutput::Borrowed(bound.unwrap_or(ValueRef::Null)))
}
