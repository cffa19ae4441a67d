use std::time::Duration;

use ledger::Outcome as Came;
use millrace_billing::{ChargeState, Settings};
use proto::billing::v1::{GetPaymentRequest, GetPaymentResponse, PaymentState};

use crate::shop::{PRICE, Shop, order_of};

#[tokio::test]
async fn an_order_is_charged_once_and_its_customer_sees_how_far_that_is() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    assert_eq!(shop.state(order).await, PaymentState::Pending);
    shop.ledger.perform_effects().await;

    let payment = shop.payment(order).await;
    assert_eq!((payment.state(), payment.amount.map(|amount| amount.minor)), (PaymentState::Captured, Some(PRICE)));
    assert_eq!(shop.history(order).await, ["Requested", "Processed"]);
    let [charge] = &shop.charges().await[..] else { panic!("not one charge") };
    assert_eq!((&charge.order_id, charge.taken(), &*charge.currency), (&order.to_string(), PRICE, "EUR"));
}

#[tokio::test]
async fn a_declined_card_fails_the_payment_and_says_why() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_declined:by-the-bank").await).await;
    shop.settle().await;
    let payment = shop.payment(order).await;
    assert_eq!((payment.state(), &*payment.reason), (PaymentState::Failed, "the card was declined"));
    assert_eq!(shop.taken().await, 0);
}

#[tokio::test]
async fn after_a_lost_answer_the_provider_is_asked_and_the_card_is_charged_once() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_timeout").await).await;
    shop.ledger.perform_effects().await;
    assert_eq!(shop.state(order).await, PaymentState::Pending);
    shop.settle().await;
    assert_eq!(shop.state(order).await, PaymentState::Captured);
    assert_eq!(shop.provider.calls(), ["authorize", "ask", "ask", "capture"]);
    assert_eq!((shop.charges().await.len(), shop.taken().await), (1, PRICE));
}

#[tokio::test]
async fn what_the_provider_never_heard_of_is_done_under_the_same_reference() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    drop(shop.begin().await);
    shop.settle().await;
    assert_eq!(shop.provider.calls(), ["ask", "authorize", "ask", "capture"], "what it has not seen is made again");
    let reference = format!("payment/{order}:charge:1");
    assert_eq!(shop.charges().await.iter().map(|charge| &*charge.reference).collect::<Vec<_>>(), [reference]);
}

#[tokio::test]
async fn an_answer_that_never_reached_the_database_is_fetched_again() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    let charge = shop.begin().await;
    shop.ledger.ledger().perform(charge).await.expect("the provider answers");
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "Processed"]);
    assert_eq!(shop.provider.calls(), ["authorize", "capture", "ask", "ask"]);
    assert_eq!(shop.taken().await, PRICE);
}

#[tokio::test]
async fn a_late_answer_is_waited_for() {
    let shop = Shop::with(Duration::from_millis(1), Settings::default()).await;
    let order = shop.order(&shop.card("tok_late").await).await;
    shop.settle().await;
    assert_eq!(
        (shop.state(order).await, shop.provider.calls()),
        (PaymentState::Captured, vec!["authorize", "capture"])
    );
}

#[tokio::test]
async fn an_answer_that_is_too_late_is_asked_for() {
    let impatient = Settings { patience: Duration::from_millis(500), ..Settings::default() };
    let shop = Shop::with(Duration::from_hours(1), impatient).await;
    let order = shop.order(&shop.card("tok_late").await).await;
    shop.settle().await;
    assert_eq!(shop.state(order).await, PaymentState::Captured);
    assert!(shop.provider.calls().starts_with(&["authorize", "ask"]));
    assert_eq!((shop.charges().await.len(), shop.taken().await), (1, PRICE));
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_taken_in_once() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    let leased = shop.begin().await;
    let first = shop.finish(leased.clone()).await;
    let second = shop.finish(leased).await;
    assert_eq!((first.outcomes, second.outcomes), (vec![Came::Applied], vec![Came::Duplicate]));
    assert_eq!((shop.history(order).await.len(), shop.charges().await.len()), (2, 1));
}

#[tokio::test]
async fn a_payment_of_somebody_else_and_one_that_does_not_exist_look_the_same() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    let (ben, nothing) = (shop.ledger.new_id(), shop.ledger.new_id());
    for (who, what) in [(ben, order.to_string()), (shop.anna, nothing.to_string())] {
        let answer = shop.ledger.user(who).ask::<_, GetPaymentResponse>(GetPaymentRequest { order_id: what }).await;
        assert_eq!(answer.expect_err("it is not theirs").reason, "PAYMENT_NOT_YOURS");
    }
    let answer =
        shop.ledger.user(ben).ask::<_, GetPaymentResponse>(GetPaymentRequest { order_id: "no id".to_owned() }).await;
    assert_eq!(answer.expect_err("it is no id").reason, "INVALID_FIELD");
}

#[tokio::test]
async fn an_order_that_names_no_price_stops_its_key_and_no_other() {
    let shop = Shop::open().await;
    let card = shop.card("tok_approved").await;
    let poison = proto::order::v1::OrderCreated { total: None, ..order_of(shop.anna, &card, PRICE) };
    let done = shop.ledger.hear(shop.ledger.new_id(), &poison).await;
    assert_eq!(done.outcome(), &Came::Noted);
    let order = shop.order(&card).await;
    shop.settle().await;
    assert_eq!(shop.state(order).await, PaymentState::Captured);
    assert!(shop.charges().await.iter().all(|charge| charge.state == ChargeState::Taken));
}
