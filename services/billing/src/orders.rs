//! What happens to orders, and what billing does about it. The payment of an order has the order's id.

use event::Id;
use ledger::{Aggregate as _, Effect as _, Loaded, Reads, Result, Subscription, Tx};
use proto::billing::v1::payment_failed::Cause;
use proto::order::v1::{OrderCanceled, OrderCreated};

use crate::customers;
use crate::domain::{Act, Decision, Input, Money, Order, Payment, Refusal, Step, check, decide};
use crate::effects::{Charge, Refund};
use crate::error::Error;
use crate::settings::Billing;
use crate::store::{customer, payment_method};

pub(crate) fn subscription() -> Subscription {
    Subscription::new("orders", 1).acts_on(Payment::KIND).on(created).on(canceled).reads(reads)
}

/// What [`judge`] looks up.
fn reads(event: &OrderCreated, reads: &mut Reads) {
    // A client wrote the first into an order, and not every text can be asked for.
    let ids = (event.payment_method_id.parse::<Id>(), event.customer_id.parse::<Id>());
    if let (Ok(payment_method), Ok(customer)) = ids {
        reads.row::<payment_method::Entity>(payment_method.to_string());
        reads.row::<customer::Entity>(customer.to_string());
    }
}

async fn created(cx: &mut Tx, event: OrderCreated) -> Result<()> {
    let payment = load(cx).await?;
    // An order that was canceled before it came is not looked at: it might wait for its customer in vain.
    if payment.exists() {
        return Ok(());
    }
    let judged = judge(cx, event.try_into()?).await?;
    carry_out(cx, payment, Input::Ordered(judged)).await
}

/// Whoever canceled it, and why, makes no difference: an order that failed here has nothing left to make good.
async fn canceled(cx: &mut Tx, _: OrderCanceled) -> Result<()> {
    let payment = load(cx).await?;
    let withdrawn = match payment.step {
        Step::Charging => cx.withdraw::<Payment, Charge>(&payment).await?,
        _ => false,
    };
    carry_out(cx, payment, Input::Canceled { withdrawn }).await
}

async fn load(cx: &mut Tx) -> Result<Loaded<Payment>> {
    let id = cx.event()?.key.id();
    cx.load(id).await
}

async fn judge(cx: &Tx, order: Order) -> Result<Result<Order, Refusal>> {
    let method = match order.payment_method_id.parse::<Id>() {
        Ok(id) => cx.find::<payment_method::Entity>(&id.to_string()).await?,
        Err(_) => None,
    };
    // Someone else's is refused in the same words as one that does not exist.
    let Some(method) = method.filter(|method| method.user_id == order.customer_id) else {
        return Ok(Err(order.refused(Cause::Unavailable, "there is no such payment method of the customer's")));
    };
    let customer = order.customer_id.parse().map_err(|_| Error::MalformedOrder("customer"))?;
    let Some(country) = customers::country(cx, customer).await? else {
        return Ok(Err(order.refused(Cause::UnknownCustomer, "the customer is not known")));
    };
    Ok(check(order, &method.country, &country, cx.service::<Billing>()?.settings.limits))
}

/// Decides, writes down what was decided, and wishes what is to be asked of the provider.
pub(crate) async fn carry_out(cx: &mut Tx, mut payment: Loaded<Payment>, input: Input) -> Result<()> {
    let Decision { events, act } = decide(payment.id(), &payment, input)?;
    cx.append(&mut payment, events).await?;
    match act {
        None => Ok(()),
        Some(Act::Charge(order)) => cx.effect(&payment, &Charge::new(payment.id(), order)),
        Some(Act::Refund) => {
            // The provider knows a charge by the reference under which it was reserved.
            let charge = ledger::reference(payment.key(), Charge::KIND, payment.requested);
            cx.effect(&payment, &Refund { charge })
        }
    }
}

impl TryFrom<OrderCreated> for Order {
    type Error = Error;

    fn try_from(event: OrderCreated) -> Result<Self, Error> {
        let amount =
            event.total.map(Money::from).filter(|amount| amount.minor > 0).ok_or(Error::MalformedOrder("price"))?;
        Ok(Self { customer_id: event.customer_id, amount, payment_method_id: event.payment_method_id })
    }
}
