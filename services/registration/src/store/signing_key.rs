use std::time::Duration;

use event::Micros;
use identity::SigningKey;
use ledger::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::QueryOrder as _;
use sea_orm::entity::prelude::*;
use secrecy::ExposeSecret as _;

use super::Secret;

/// The keys that sign access tokens: the only place where their private halves are.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    /// The `kid` of the tokens that it signs.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    pub public_key: Vec<u8>,
    /// The key pair: PKCS#8 in base64url.
    pub key_pair: Secret,
    /// In microseconds since 1970.
    pub drawn_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(crate) const fn drawn_at(&self) -> Micros {
        Micros(self.drawn_at)
    }
}

/// After so many lives a key is forgotten. The last token that it signed has ended long before.
const LIVES_KEPT: u32 = 3;

/// All keys, the newest first. Few, because the old ones are forgotten.
pub(crate) async fn all(db: &impl ConnectionTrait) -> Result<Vec<Model>> {
    Ok(Entity::find().order_by_desc(Column::DrawnAt).order_by_asc(Column::KeyId).all(db).await?)
}

pub(crate) async fn newest(db: &impl ConnectionTrait) -> Result<Option<Model>> {
    Ok(all(db).await?.into_iter().next())
}

/// The key to sign with: the newest that was published long enough ago, or else the oldest. All instances choose the same.
pub(crate) async fn in_use(db: &impl ConnectionTrait, now: Micros, ahead: Duration) -> Result<SigningKey> {
    let keys = all(db).await?;
    let known = keys.iter().find(|key| key.drawn_at().plus(ahead) <= now).or_else(|| keys.last());
    let key = known.ok_or_else(|| Error::Transient("there is no signing key yet".to_owned()))?;
    key.key_pair.0.parse().map_err(|error| Error::Failed(format!("a signing key cannot be read: {error}")))
}

pub(crate) async fn insert(db: &impl ConnectionTrait, key: &SigningKey, now: Micros) -> Result<()> {
    let row = ActiveModel {
        key_id: Set(key.key_id()),
        public_key: Set(key.public_key().to_vec()),
        key_pair: Set(Secret(key.to_text().expose_secret().to_owned())),
        drawn_at: Set(now.0),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(crate) async fn forget_old(db: &impl ConnectionTrait, now: Micros, life: Duration) -> Result<()> {
    let kept = i64::try_from((life * LIVES_KEPT).as_micros()).unwrap_or(i64::MAX);
    Entity::delete_many().filter(Column::DrawnAt.lt(now.0.saturating_sub(kept))).exec(db).await?;
    Ok(())
}
