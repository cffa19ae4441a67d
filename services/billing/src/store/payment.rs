use event::{Id, Micros};
use ledger::{At, Result};
use proto::billing::v1::{self, PaymentState};
use proto::money::v1::Money;
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

use crate::domain::{Payment, Step};

/// The projection of payments.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// Null where a cancel came before the order.
    pub customer_id: Option<String>,
    /// A `millrace.billing.v1.PaymentState`.
    pub state: i16,
    /// Null, like `minor`, if the provider was never asked.
    pub currency: Option<String>,
    pub minor: Option<i64>,
    pub reason: String,
    /// In microseconds since 1970.
    pub changed_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) fn row(payment: &Payment, at: &At) -> ActiveModel {
    let Payment { step, customer_id, amount, reason, .. } = payment.clone();
    ActiveModel {
        order_id: Set(at.id.to_string()),
        customer_id: Set(customer_id),
        state: Set(PaymentState::from(step) as i16),
        currency: Set(amount.as_ref().map(|amount| amount.currency.clone())),
        minor: Set(amount.map(|amount| amount.minor)),
        reason: Set(reason),
        changed_at: Set(at.time.0),
    }
}

/// The payment of an order, if it is this customer's.
pub(crate) async fn find(db: &impl ConnectionTrait, customer: Id, order: Id) -> Result<Option<v1::Payment>> {
    let own = Entity::find_by_id(order.to_string()).filter(Column::CustomerId.eq(customer.to_string()));
    Ok(own.one(db).await?.map(v1::Payment::from))
}

impl From<Step> for PaymentState {
    fn from(step: Step) -> Self {
        match step {
            Step::New => Self::Unspecified,
            Step::Charging | Step::Canceling => Self::Pending,
            Step::Captured => Self::Captured,
            Step::Refunding => Self::RefundPending,
            Step::Refunded => Self::Refunded,
            Step::Voided => Self::Voided,
            Step::Failed => Self::Failed,
        }
    }
}

impl From<Model> for v1::Payment {
    fn from(row: Model) -> Self {
        Self {
            order_id: row.order_id,
            state: row.state.into(),
            amount: row.currency.zip(row.minor).map(|(currency, minor)| Money { currency, minor }),
            reason: row.reason,
            update_time: Some(Micros(row.changed_at).into()),
        }
    }
}
