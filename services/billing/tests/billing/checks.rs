use std::time::Duration;

use event::Id;
use ledger::Outcome as Came;
use proto::billing::v1::payment_failed::Cause;
use proto::billing::v1::{PaymentFailed, PaymentState};
use proto::user::v1::UserUpdated;

use crate::shop::{PRICE, Shop, order_of};

impl Shop {
    /// Why an order of Anna's is refused at once.
    async fn refusal(&self, card: &str, minor: i64) -> PaymentFailed {
        let done = self.ledger.hear(self.ledger.new_id(), &order_of(self.anna, card, minor)).await;
        done.event()
    }

    async fn move_to(&self, user: Id, country: &str) {
        let event = UserUpdated { user_id: user.to_string(), country: country.to_owned(), ..Default::default() };
        self.ledger.hear(user, &event).await;
    }
}

#[tokio::test]
async fn an_order_above_the_limit_is_refused_as_a_fraud_and_never_charged() {
    let shop = Shop::open().await;
    let card = shop.card("tok_approved").await;
    let refusal = shop.refusal(&card, 1_249_900).await;
    assert_eq!((refusal.cause(), refusal.customer_id), (Cause::Fraud, shop.anna.to_string()));
    assert!(refusal.reason.contains("1249900"), "{}", refusal.reason);
    shop.settle().await;
    assert!(shop.provider.calls().is_empty());
}

#[tokio::test]
async fn a_card_from_another_country_is_refused_until_its_owner_has_moved_there() {
    let shop = Shop::open().await;
    let card = shop.card("tok_approved").await;
    shop.move_to(shop.anna, "FR").await;
    let refusal = shop.refusal(&card, PRICE).await;
    assert_eq!(refusal.cause(), Cause::Fraud);
    shop.move_to(shop.anna, "DE").await;
    let order = shop.order(&card).await;
    assert_eq!(shop.state(order).await, PaymentState::Pending);
}

#[tokio::test]
async fn a_profile_counts_whichever_comes_first() {
    let shop = Shop::open().await;
    let ben = shop.ledger.new_id();
    let card = shop.card_of(ben, "tok_approved").await;
    shop.move_to(ben, "DE").await;
    shop.register(ben, "US").await;
    let done = shop.ledger.hear(shop.ledger.new_id(), &order_of(ben, &card, PRICE)).await;
    assert!(done.wished, "the profile says DE, as the card does");
}

#[tokio::test]
async fn only_a_payment_method_of_ones_own_can_be_used() {
    let shop = Shop::open().await;
    let bens = shop.card_of(shop.ledger.new_id(), "tok_approved").await;
    for card in [bens, shop.ledger.new_id().to_string(), "no id at all".to_owned()] {
        assert_eq!(shop.refusal(&card, PRICE).await.cause(), Cause::Unavailable);
    }
}

#[tokio::test]
async fn an_order_that_comes_before_its_customer_waits_for_them() {
    let shop = Shop::open().await;
    let (ben, order) = (shop.ledger.new_id(), shop.ledger.new_id());
    let card = shop.card_of(ben, "tok_approved").await;
    let done = shop.ledger.hear(order, &order_of(ben, &card, PRICE)).await;
    assert_eq!((done.outcome(), done.appended.len()), (&Came::Noted, 0));

    shop.register(ben, "DE").await;
    shop.ledger.advance(Duration::from_mins(1));
    shop.ledger.catch_up().await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "Processed"]);
    assert_eq!(shop.taken().await, PRICE);
}

#[tokio::test]
async fn an_order_whose_customer_never_was_is_refused_aloud() {
    let shop = Shop::open().await;
    let (nobody, order) = (shop.ledger.new_id(), shop.ledger.new_id());
    let card = shop.card_of(nobody, "tok_approved").await;
    shop.ledger.hear(order, &order_of(nobody, &card, PRICE)).await;
    shop.ledger.advance(Duration::from_secs(601));
    let refusal: PaymentFailed = shop.ledger.catch_up().await.event();
    assert_eq!((refusal.cause(), refusal.order_id), (Cause::UnknownCustomer, order.to_string()));
}

#[tokio::test]
async fn a_cancel_waits_behind_an_order_that_waits_for_its_customer() {
    let shop = Shop::open().await;
    let (ben, order) = (shop.ledger.new_id(), shop.ledger.new_id());
    let card = shop.card_of(ben, "tok_approved").await;
    shop.ledger.hear(order, &order_of(ben, &card, PRICE)).await;
    shop.cancel(order).await;
    shop.register(ben, "DE").await;
    shop.ledger.advance(Duration::from_mins(1));
    shop.ledger.catch_up().await;
    shop.settle().await;
    assert_eq!((shop.history(order).await, shop.taken().await), (vec!["Requested".to_owned(), "Voided".to_owned()], 0));
}
