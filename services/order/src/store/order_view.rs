use event::Id;
use ledger::Result;
use proto::Message as _;
use proto::order::v1;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{QueryOrder as _, QuerySelect as _};

use crate::domain::Order;

/// The projection of orders: what is needed to find one, and the whole as its customer sees it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_view")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    pub customer_id: String,
    /// In microseconds since 1970.
    pub placed_at: i64,
    /// The encoded `millrace.order.v1.Order`.
    pub view: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

/// A place in a customer's list of orders. Ids alone would not do: one may begin with the time of a client's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub placed_at: i64,
    pub order_id: Id,
}

pub(crate) fn row(order: &Order) -> ActiveModel {
    ActiveModel {
        order_id: Set(order.id.clone()),
        customer_id: Unchanged(order.customer_id.clone()),
        placed_at: Unchanged(order.placed_at),
        view: Set(v1::Order::from(order).encode_to_vec()),
    }
}

/// The order, if it is this customer's.
pub(crate) async fn find(db: &impl ConnectionTrait, customer_id: Id, order_id: Id) -> Result<Option<v1::Order>> {
    let row = of(customer_id).filter(Column::OrderId.eq(order_id.to_string())).one(db).await?;
    row.map(|row| Ok(v1::Order::decode(&*row.view)?)).transpose()
}

/// The customer's orders older than a place, or all, the newest first; each with its place.
pub(crate) async fn list(
    db: &impl ConnectionTrait,
    customer_id: Id,
    older_than: Option<Place>,
    limit: u64,
) -> Result<Vec<(Place, v1::Order)>> {
    let older = |place: Place| {
        let same_moment = Column::PlacedAt.eq(place.placed_at).and(Column::OrderId.lt(place.order_id.to_string()));
        Column::PlacedAt.lt(place.placed_at).or(same_moment)
    };
    let rows = of(customer_id)
        .filter(sea_orm::Condition::all().add_option(older_than.map(older)))
        .order_by_desc(Column::PlacedAt)
        .order_by_desc(Column::OrderId)
        .limit(limit);
    rows.all(db).await?.into_iter().map(Model::into_listed).collect()
}

/// The only way into the table, so that no query forgets whose orders it may see.
fn of(customer_id: Id) -> Select<Entity> {
    Entity::find().filter(Column::CustomerId.eq(customer_id.to_string()))
}

impl Model {
    fn into_listed(self) -> Result<(Place, v1::Order)> {
        let order_id =
            self.order_id.parse().map_err(|_| ledger::Error::Failed("an order's id cannot be read".to_owned()))?;
        Ok((Place { placed_at: self.placed_at, order_id }, v1::Order::decode(&*self.view)?))
    }
}
