use event::Id;
use ledger::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use crate::domain::Family;

/// The refresh tokens of an open session, by their SHA-256.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refresh_token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    /// Of the newest token; from 0.
    pub generation: i64,
    /// Of what all tokens of the session have in common.
    pub family_hash: Vec<u8>,
    pub current_hash: Vec<u8>,
    /// Of the token that the newest one was given for.
    pub previous_hash: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn find(db: &impl ConnectionTrait, session: Id) -> Result<Option<Family>> {
    Entity::find_by_id(session.to_string()).one(db).await?.map(Family::try_from).transpose()
}

pub(crate) async fn put(db: &impl ConnectionTrait, session: Id, family: &Family) -> Result<()> {
    let row = ActiveModel {
        session_id: Set(session.to_string()),
        generation: Set(family.generation.into()),
        family_hash: Set(family.in_common.to_vec()),
        current_hash: Set(family.current.to_vec()),
        previous_hash: Set(family.previous.map(|hash| hash.to_vec())),
    };
    let columns = [Column::Generation, Column::FamilyHash, Column::CurrentHash, Column::PreviousHash];
    let replace = OnConflict::column(Column::SessionId).update_columns(columns).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}

pub(crate) async fn delete(db: &impl ConnectionTrait, session: Id) -> Result<()> {
    Entity::delete_by_id(session.to_string()).exec(db).await?;
    Ok(())
}

impl TryFrom<Model> for Family {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let damaged = || Error::Failed("a session's refresh tokens cannot be read".to_owned());
        let hash = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| damaged());
        Ok(Self {
            generation: row.generation.try_into().map_err(|_| damaged())?,
            in_common: hash(row.family_hash)?,
            current: hash(row.current_hash)?,
            previous: row.previous_hash.map(hash).transpose()?,
        })
    }
}
