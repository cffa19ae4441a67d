use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, DatabaseTransaction};

use super::{Card, Reservation};

/// A charge: where the money is. Never the card's token.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "simulated_charge")]
pub struct Model {
    /// The reference under which it was reserved.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reference: String,
    pub order_id: String,
    pub currency: String,
    /// In the currency's smallest unit.
    pub minor: i64,
    pub state: State,
    pub(crate) card: Card,
}

impl ActiveModelBehavior for ActiveModel {}

/// Where the money of a charge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum State {
    Reserved = 1,
    /// Nothing was reserved.
    Declined = 2,
    Taken = 3,
    /// What was reserved was let go.
    LetGo = 4,
    /// What was taken was given back.
    GivenBack = 5,
}

impl Model {
    /// What the customer has paid for it, all told, in the currency's smallest unit.
    pub const fn taken(&self) -> i64 {
        if matches!(self.state, State::Taken) { self.minor } else { 0 }
    }
}

/// Writes a new charge, which is reserved or declined by its card. Why, if nothing was reserved.
pub(super) async fn reserve(
    txn: &DatabaseTransaction,
    reference: &str,
    reservation: Reservation,
) -> Result<Option<&'static str>, DbErr> {
    let Reservation { order_id, currency, minor, card } = reservation;
    let Some(card) = Card::of(&card) else { return Ok(Some("the card is not known")) };
    let state = if card == Card::Declined { State::Declined } else { State::Reserved };
    let row = ActiveModel {
        reference: Set(reference.to_owned()),
        order_id: Set(order_id),
        currency: Set(currency),
        minor: Set(minor),
        state: Set(state),
        card: Set(card),
    };
    Entity::insert(row).exec_without_returning(txn).await?;
    Ok((state == State::Declined).then_some("the card was declined"))
}

/// Moves the money of a charge on. False if it was not where it should have been.
pub(super) async fn change(txn: &DatabaseTransaction, charge: &str, from: State, to: State) -> Result<bool, DbErr> {
    let rows = Entity::update_many()
        .col_expr(Column::State, to.into())
        .filter(Column::Reference.eq(charge))
        .filter(Column::State.eq(from));
    Ok(rows.exec(txn).await?.rows_affected == 1)
}
