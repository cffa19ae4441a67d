use event::{Id, Micros};
use ledger::{Result, Rows};
use proto::user::v1::Profile;
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

/// A profile as it is read: the projection of [`User`](crate::domain::User).
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "profile")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    pub display_name: String,
    pub country: String,
    pub locale: String,
    pub etag: String,
    /// In microseconds since 1970.
    pub created_at: i64,
    /// In microseconds since 1970.
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn find(db: &impl ConnectionTrait, id: Id) -> Result<Option<Profile>> {
    Ok(Entity::find_by_id(id.to_string()).one(db).await?.map(Profile::from))
}

pub(crate) fn put(rows: &mut Rows, profile: Profile, created_at: Micros, updated_at: Micros) {
    let Profile { user_id, display_name, country, locale, etag, .. } = profile;
    let row = ActiveModel {
        user_id: Set(user_id.clone()),
        display_name: Set(display_name),
        country: Set(country),
        locale: Set(locale),
        etag: Set(etag),
        created_at: Set(created_at.0),
        updated_at: Set(updated_at.0),
    };
    rows.put(user_id, row);
}

impl From<Model> for Profile {
    fn from(row: Model) -> Self {
        let Model { user_id, display_name, country, locale, etag, created_at, updated_at } = row;
        let (create_time, update_time) = (Some(Micros(created_at).into()), Some(Micros(updated_at).into()));
        Self { user_id, display_name, country, locale, etag, create_time, update_time }
    }
}
