use event::Id;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{QueryOrder, QuerySelect};

use super::writes::Writes;

use crate::database::Transaction;

/// What became of a command. The row stays for ever; the outcome's bytes do not.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "receipt")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub command_id: String,
    pub method: String,
    pub principal: String,
    /// HMAC of the request's hash, under the database's own key: a copy of the table does not tell what was asked.
    pub fingerprint: Vec<u8>,
    pub state: State,
    /// The consistency token.
    pub token: String,
    /// COMPLETED: the encoded response. REJECTED: the encoded `google.rpc.Status`.
    pub outcome: Option<Vec<u8>>,
    /// How often it has failed.
    pub attempts: i64,
    /// Only if FAILED, or ACCEPTED since it was driven again: the encoded `KeptCommand`.
    pub request: Option<Vec<u8>>,
    /// Why it has failed.
    pub reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

/// How far a command is, as far as its owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum State {
    /// It was tried and has failed, and will be tried again.
    Accepted = 1,
    Completed = 2,
    Rejected = 3,
    Failed = 4,
}

/// Locks the receipts that exist, in the order of their ids.
pub(crate) async fn lock(txn: &Transaction, ids: &[Id]) -> Result<Vec<Model>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = ids.iter().map(Id::to_string);
    Entity::find().filter(Column::CommandId.is_in(ids)).order_by_asc(Column::CommandId).lock_exclusive().all(txn).await
}

/// Writes new receipts, which fails if a second copy of a command was faster, and those that were locked.
pub(crate) fn write(writes: &mut Writes, new: Vec<Model>, locked: Vec<Model>) {
    let changing = [Column::State, Column::Token, Column::Outcome, Column::Attempts, Column::Request, Column::Reason];
    writes.insert(new);
    writes.upsert(locked, OnConflict::column(Column::CommandId).update_columns(changing).to_owned());
}

/// Commands that were driven again and have not ended, those that wait longest first: ids begin with a time.
pub(crate) async fn redriven(connection: &impl ConnectionTrait, limit: u64) -> Result<Vec<Model>, DbErr> {
    let kept = Entity::find().filter(Column::Request.is_not_null()).filter(Column::State.eq(State::Accepted));
    kept.order_by_asc(Column::CommandId).limit(limit).all(connection).await
}

pub(crate) async fn find(connection: &impl ConnectionTrait, id: Id) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id.to_string()).one(connection).await
}
