use event::{Id, Micros};
use ledger::Result;
use proto::billing::v1;
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel as _, QueryOrder as _, QuerySelect as _};

use crate::card_token::CardToken;

/// A way to pay. The only place for the card's token.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_method")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub payment_method_id: String,
    /// Whose it is.
    pub user_id: String,
    pub country: String,
    pub label: String,
    pub card_token: CardToken,
    /// In microseconds since 1970.
    pub added_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// How many payment methods are listed at most.
const LISTED: u64 = 100;

pub(crate) async fn add(db: &impl ConnectionTrait, row: Model) -> Result<()> {
    Entity::insert(row.into_active_model()).exec_without_returning(db).await?;
    Ok(())
}

/// The user's payment methods, the newest first.
pub(crate) async fn list(db: &impl ConnectionTrait, user: Id) -> Result<Vec<Model>> {
    let own = Entity::find().filter(Column::UserId.eq(user.to_string()));
    let newest_first = own.order_by_desc(Column::AddedAt).order_by_desc(Column::PaymentMethodId);
    Ok(newest_first.limit(LISTED).all(db).await?)
}

/// The payment method as its owner sees it: without its token.
impl From<&Model> for v1::PaymentMethod {
    fn from(row: &Model) -> Self {
        Self {
            payment_method_id: row.payment_method_id.clone(),
            label: row.label.clone(),
            country: row.country.clone(),
            create_time: Some(Micros(row.added_at).into()),
        }
    }
}
