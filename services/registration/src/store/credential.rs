use event::Id;
use ledger::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Secret, address};

/// What proves that somebody is an account's owner.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credential")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: String,
    /// Counts the account's passwords. The same password hashed anew is the same version.
    pub version: i64,
    /// The password's hash as a PHC string.
    pub hash: Secret,
}

impl ActiveModelBehavior for ActiveModel {}

/// The account that an address belongs to, and how its owner proves it.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) account_id: String,
    version: i64,
    pub(crate) hash: SecretString,
}

impl Credential {
    pub(crate) fn account(&self) -> Result<Id> {
        self.account_id.parse().map_err(|_| Error::Failed("an account's id cannot be read".to_owned()))
    }

    /// Whether what was found out about this is true of `now`, too.
    pub(crate) fn is_still(&self, now: &Self) -> bool {
        self.account_id == now.account_id && self.version == now.version
    }
}

/// The credential of an address in its [normal](crate::domain::normal_address) form.
pub(crate) async fn find(db: &impl ConnectionTrait, address: &str) -> Result<Option<Credential>> {
    let account = address::Entity::find_by_id(address.to_owned()).one(db).await?.map(|row| row.account_id);
    // Looked for even if there is no account, so that both cases take as long.
    let row = Entity::find_by_id(account.unwrap_or_default()).one(db).await?;
    Ok(row.map(|Model { account_id, version, hash }| Credential { account_id, version, hash: hash.0.into() }))
}

/// Fails as a lost race if the address is taken.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    address: &str,
    account_id: &str,
    hash: SecretString,
) -> Result<()> {
    let (address, account_id) = (address.to_owned(), account_id.to_owned());
    let row = address::ActiveModel { address: Set(address), account_id: Set(account_id.clone()) };
    address::Entity::insert(row).exec_without_returning(db).await?;
    let hash = Secret(hash.expose_secret().to_owned());
    let row = ActiveModel { account_id: Set(account_id), version: Set(1), hash: Set(hash) };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Keeps another hash of the same password, unless the password was changed meanwhile.
pub(crate) async fn strengthen(db: &impl ConnectionTrait, credential: &Credential, hash: SecretString) -> Result<()> {
    let unchanged = Column::AccountId.eq(&credential.account_id).and(Column::Version.eq(credential.version));
    let hash = Expr::value(Secret(hash.expose_secret().to_owned()));
    Entity::update_many().col_expr(Column::Hash, hash).filter(unchanged).exec(db).await?;
    Ok(())
}
