use event::Id;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, IntoActiveModel as _, QuerySelect as _};

use crate::clock::Chance;
use crate::database::Transaction;
use event::Micros;

/// One row: what tells this log from every other, and the generation that it is in.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub one: i16,
    pub log_id: String,
    pub epoch: i64,
    pub next_position: i64,
    /// Requests are compared under it. It never rotates: receipts are for ever.
    pub fingerprint_key: Vec<u8>,
    /// Why this log is older than what others have read of it; none: it is not.
    pub behind: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The row as it stands.
pub(crate) async fn read(connection: &impl ConnectionTrait) -> Result<Model, DbErr> {
    let row = Entity::find_by_id(1_i16).one(connection).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the log's row".to_owned()))
}

/// The row, held until the transaction ends.
pub(crate) async fn lock(txn: &Transaction) -> Result<Model, DbErr> {
    let row = Entity::find_by_id(1_i16).lock_exclusive().one(txn).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the log's row".to_owned()))
}

/// Writes the row, which was locked.
pub(crate) async fn write(txn: &Transaction, locked: Model) -> Result<(), DbErr> {
    locked.into_active_model().reset_all().update(txn).await.map(drop)
}

/// Reads the row, and draws it if this is a new database. Of two instances that draw at once the loser reads what the winner drew.
pub(crate) async fn read_or_draw(txn: &Transaction, chance: &Chance, now: Micros) -> Result<Model, DbErr> {
    if let Some(row) = Entity::find_by_id(1_i16).one(txn).await? {
        return Ok(row);
    }
    let id: Id = chance.id(now);
    let row = ActiveModel {
        one: Set(1),
        log_id: Set(id.to_string()),
        epoch: Set(1),
        next_position: Set(1),
        fingerprint_key: Set(chance.bytes::<32>().to_vec()),
        behind: Set(None),
    };
    let drawn = OnConflict::column(Column::One).do_nothing().to_owned();
    Entity::insert_many([row]).on_conflict(drawn).exec_without_returning(txn).await?;
    read(txn).await
}
