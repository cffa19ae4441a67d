use ledger::Result;
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

/// The language to write to a person in, as their profile has it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "locale")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// A BCP 47 tag.
    pub locale: String,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn put(db: &impl ConnectionTrait, user_id: String, locale: String) -> Result<()> {
    let row = ActiveModel { user_id: Set(user_id), locale: Set(locale) };
    let replace = OnConflict::column(Column::UserId).update_column(Column::Locale).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}
