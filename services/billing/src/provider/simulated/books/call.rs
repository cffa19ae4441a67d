use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::DatabaseTransaction;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use crate::provider::Outcome;

/// A call that was carried out, or refused: what makes a repetition harmless.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "simulated_call")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) reference: String,
    pub(super) charge: String,
    /// Why nothing was done; null if it was.
    pub(super) refusal: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(super) fn outcome(self) -> Outcome {
        self.refusal.map_or(Outcome::Done, Outcome::Refused)
    }
}

/// Takes the reference. False if it was taken before; whoever comes while another is at it waits for its end.
pub(super) async fn claim(txn: &DatabaseTransaction, reference: &str, charge: &str) -> Result<bool, DbErr> {
    let row = ActiveModel { reference: Set(reference.to_owned()), charge: Set(charge.to_owned()), refusal: Set(None) };
    let nothing = OnConflict::column(Column::Reference).do_nothing().to_owned();
    let inserted = Entity::insert(row).on_conflict(nothing).exec_without_returning(txn).await?;
    Ok(inserted == 1)
}

/// Notes why nothing was done.
pub(super) async fn refuse(txn: &DatabaseTransaction, reference: &str, refusal: &str) -> Result<(), DbErr> {
    let row = ActiveModel {
        reference: Unchanged(reference.to_owned()),
        refusal: Set(Some(refusal.to_owned())),
        ..Default::default()
    };
    row.update(txn).await?;
    Ok(())
}

pub(super) async fn find(db: &impl ConnectionTrait, reference: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(reference.to_owned()).one(db).await
}
