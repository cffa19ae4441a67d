use std::collections::{BTreeMap, HashMap};

use ledger::Transaction;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, QueryOrder as _, QuerySelect as _};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
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

/// Writes new charges, each reserved or declined by its card. One with a card that is not known is not written.
pub(super) async fn reserve(txn: &Transaction, new: impl Iterator<Item = (&str, &Reservation)>) -> Result<(), DbErr> {
    let row = |(reference, reservation): (&str, &Reservation)| {
        let card = Card::of(&reservation.card)?;
        let state = if card == Card::Declined { State::Declined } else { State::Reserved };
        Some(ActiveModel {
            reference: Set(reference.to_owned()),
            order_id: Set(reservation.order_id.clone()),
            currency: Set(reservation.currency.clone()),
            minor: Set(reservation.minor),
            state: Set(state),
            card: Set(card),
        })
    };
    let rows: Vec<_> = new.filter_map(row).collect();
    if !rows.is_empty() {
        Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

/// Locks charges, in one order.
pub(super) async fn lock(
    txn: &Transaction,
    references: impl Iterator<Item = &str>,
) -> Result<HashMap<String, Model>, DbErr> {
    let those = Entity::find().filter(Column::Reference.is_in(references)).order_by_asc(Column::Reference);
    let rows = those.lock_exclusive().all(txn).await?;
    Ok(rows.into_iter().map(|row| (row.reference.clone(), row)).collect())
}

/// Moves the money of locked charges on.
pub(super) async fn move_to(txn: &Transaction, moved: BTreeMap<State, Vec<&str>>) -> Result<(), DbErr> {
    for (state, charges) in moved {
        let rows = Entity::update_many().col_expr(Column::State, state.into());
        rows.filter(Column::Reference.is_in(charges)).exec(txn).await?;
    }
    Ok(())
}
