use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect};

use crate::database::Transaction;

/// How far the audit of a subscription is with one owner's log.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "followed_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subscription: String,
    /// The domain of the owner.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    pub log_id: String,
    pub epoch: i64,
    /// Every key up to this position of the owner's log is applied, or noted in its cursor.
    pub audited_position: i64,
    /// The event that the owner had there.
    pub audited_event_id: Option<Uuid>,
    /// The cursors up to this key were visited by a comparison that is under way; none: there is none.
    pub compared_to: Option<String>,
    /// That comparison derives every key anew.
    pub rebuilds: bool,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    subscription: &str,
    owner: &str,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((subscription.to_owned(), owner.to_owned())).one(connection).await
}

/// The rows of subscriptions. Where an epoch is raised the subscription's row is locked: whoever [shares](super::subscription::share) that
/// sees here what stands until its transaction ends.
pub(crate) async fn of_all(
    txn: &Transaction,
    subscriptions: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::Subscription.is_in(subscriptions)).all(txn).await
}

/// Writes a row if there is none for its subscription and owner.
pub(crate) async fn insert_missing(txn: &Transaction, row: Model) -> Result<(), DbErr> {
    let missing = OnConflict::columns([Column::Subscription, Column::Owner]).do_nothing().to_owned();
    let rows = [row.into_active_model().reset_all()];
    Entity::insert_many(rows).on_conflict(missing).exec_without_returning(txn).await?;
    Ok(())
}

pub(crate) async fn lock(txn: &Transaction, subscription: &str, owner: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((subscription.to_owned(), owner.to_owned())).lock_exclusive().one(txn).await
}

pub(crate) async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().all(connection).await
}

/// Those of one subscription, locked.
pub(crate) async fn of(txn: &Transaction, subscription: &str) -> Result<Vec<Model>, DbErr> {
    let rows = Entity::find().filter(Column::Subscription.eq(subscription)).order_by_asc(Column::Owner);
    rows.lock_exclusive().all(txn).await
}

/// Writes a row, or replaces it.
pub(crate) async fn write(txn: &Transaction, row: Model) -> Result<(), DbErr> {
    let replace = OnConflict::columns([Column::Subscription, Column::Owner])
        .update_columns([
            Column::LogId,
            Column::Epoch,
            Column::AuditedPosition,
            Column::AuditedEventId,
            Column::ComparedTo,
            Column::Rebuilds,
        ])
        .to_owned();
    let rows = [row.into_active_model().reset_all()];
    Entity::insert_many(rows).on_conflict(replace).exec_without_returning(txn).await?;
    Ok(())
}
