//! A charge is several calls to the provider, and each may be lost on its way there or back.

use event::Id;
use millrace_billing::{Charge, ChargeState};
use proto::billing::v1::PaymentState;

use crate::shop::{Lost, PRICE, Shop};

/// The calls of a charge at most, asked for and made.
const CALLS: usize = 6;

impl Shop {
    async fn charge_of(&self, order: Id) -> Charge {
        let mut charges = self.charges().await;
        charges.retain(|charge| charge.order_id == order.to_string());
        assert_eq!(charges.len(), 1, "{charges:?}");
        charges.remove(0)
    }

    /// A charge during which these calls are lost, and perhaps the order is canceled. What happened to the payment, and where the money is.
    async fn charge(&self, card: &str, canceled: bool, lost: &[(usize, Lost)]) -> (Vec<String>, ChargeState) {
        let order = self.order(card).await;
        for (after, lost) in lost {
            self.provider.lose(*after, *lost);
        }
        let charge = self.begin().await;
        if canceled {
            self.cancel(order).await;
        }
        self.attempt(charge).await;
        self.settle().await;
        self.provider.loses_nothing_more();
        (self.history(order).await, self.charge_of(order).await.state)
    }
}

/// Each call alone, and all of them one after the other.
fn losses() -> Vec<Vec<(usize, Lost)>> {
    let ways = [Lost::There, Lost::Back];
    let each = ways.iter().flat_map(|lost| (0..CALLS).map(|after| vec![(after, *lost)]));
    let all = ways.iter().map(|lost| (0..CALLS).map(|after| (after, *lost)).collect());
    each.chain(all).collect()
}

#[tokio::test]
async fn whichever_call_is_lost_a_charge_ends_as_if_none_were() {
    let shop = Shop::open().await;
    let card = shop.card("tok_approved").await;
    for (refuses, canceled, story, state) in [
        (false, false, &["Requested", "Processed"][..], ChargeState::Taken),
        (false, true, &["Requested", "CancelRequested", "RefundRequested", "Refunded"], ChargeState::GivenBack),
        (true, false, &["Requested", "Failed"], ChargeState::LetGo),
        (true, true, &["Requested", "CancelRequested", "Voided"], ChargeState::LetGo),
    ] {
        shop.provider.refuse_to_take(refuses);
        for lost in losses() {
            let (told, money) = shop.charge(&card, canceled, &lost).await;
            assert_eq!((told.iter().map(String::as_str).collect(), money), (story.to_vec(), state), "{lost:?}");
        }
    }
}

#[tokio::test]
async fn a_charge_whose_taking_was_not_answered_is_asked_for_and_taken_once() {
    for (lost, calls) in [
        (Lost::There, &["authorize", "capture", "ask", "ask", "capture"][..]),
        (Lost::Back, &["authorize", "capture", "ask", "ask"]),
    ] {
        let shop = Shop::open().await;
        let order = shop.order(&shop.card("tok_approved").await).await;
        shop.provider.lose(1, lost);
        shop.settle().await;
        assert_eq!((shop.provider.calls().as_slice(), shop.state(order).await), (calls, PaymentState::Captured));
        assert_eq!(shop.taken().await, PRICE);
    }
}

#[tokio::test]
async fn what_was_reserved_and_cannot_be_taken_is_let_go_and_the_customer_is_told_why() {
    let shop = Shop::open().await;
    shop.provider.refuse_to_take(true);
    let order = shop.order(&shop.card("tok_approved").await).await;
    shop.ledger.perform_effects().await;
    let payment = shop.payment(order).await;
    assert_eq!((payment.state(), &*payment.reason), (PaymentState::Failed, "the amount is not reserved"));
    assert_eq!(shop.provider.calls(), ["authorize", "capture", "void"]);
    assert_eq!(shop.charge_of(order).await.state, ChargeState::LetGo);
}

/// Who cannot be told that it was let go is not told that the payment failed, either.
#[tokio::test]
async fn a_payment_fails_only_when_nothing_of_it_is_reserved_any_more() {
    let shop = Shop::open().await;
    shop.provider.refuse_to_take(true);
    let order = shop.order(&shop.card("tok_approved").await).await;
    shop.provider.lose(2, Lost::There);
    shop.ledger.perform_effects().await;
    assert_eq!(shop.charge_of(order).await.state, ChargeState::Reserved);
    assert_eq!(shop.state(order).await, PaymentState::Pending);
    shop.settle().await;
    assert_eq!(shop.charge_of(order).await.state, ChargeState::LetGo);
    assert_eq!(shop.provider.calls(), ["authorize", "capture", "void", "ask", "ask", "ask", "void"]);
    assert_eq!(shop.payment(order).await.reason, "the amount is not reserved");
}
