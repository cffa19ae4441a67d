use std::sync::Arc;

use async_trait::async_trait;
use event::{Key, Schema};
use ledger::Outcome as Came;
use millrace_billing::{CardToken, Outcome, Provider, Reservation, Settings, Unanswered};
use proto::billing::v1::{
    AddPaymentMethodResponse, ListPaymentMethodsRequest, ListPaymentMethodsResponse, PaymentMethodAdded,
};
use testkit::TestLedger;

use crate::shop::{Shop, add};

impl Shop {
    async fn labels(&self) -> Vec<String> {
        let answer =
            self.ledger.user(self.anna).ask::<_, ListPaymentMethodsResponse>(ListPaymentMethodsRequest {}).await;
        answer.expect("one may list").payment_methods.into_iter().map(|method| method.label).collect()
    }
}

#[tokio::test]
async fn a_payment_method_is_named_after_its_command_and_told_to_others_without_its_token() {
    let shop = Shop::open().await;
    let id = shop.ledger.new_id();
    let done = shop.ledger.user(shop.anna).under(id).send(add("tok_approved:mine")).await;
    let method = done.completed::<AddPaymentMethodResponse>().payment_method.expect("it was added");
    assert_eq!((method.payment_method_id, &*method.country), (id.to_string(), "DE"));
    let added: PaymentMethodAdded = done.event();
    assert_eq!((added.user_id, added.country), (shop.anna.to_string(), "DE".to_owned()));
    assert_eq!(shop.ledger.events(&Key::new("payment-method", id)).await.len(), 1);
}

#[tokio::test]
async fn a_retry_adds_nothing_and_answers_the_same() {
    let shop = Shop::open().await;
    let anna = shop.ledger.user(shop.anna).under(shop.ledger.new_id());
    let first: AddPaymentMethodResponse = anna.send(add("tok_approved")).await.completed();
    let again = anna.send(add("tok_approved")).await;
    assert_eq!(again.completed::<AddPaymentMethodResponse>(), first);
    assert_eq!((again.appended.len(), shop.labels().await.len()), (0, 1));
}

#[tokio::test]
async fn a_token_that_the_provider_did_not_give_out_is_refused() {
    let shop = Shop::open().await;
    for token in ["tok_stolen", "4242424242424242", "tok_approvedd", ":tok_approved"] {
        let refusal = shop.ledger.user(shop.anna).send(add(token)).await.rejected();
        assert_eq!((refusal.code, &*refusal.reason), (3, "UNKNOWN_CARD_TOKEN"), "{token}");
        assert!(refusal.fields.contains("card_token"));
    }
    assert_eq!(shop.labels().await, Vec::<String>::new());
}

#[tokio::test]
async fn ones_own_payment_methods_are_listed_the_newest_first() {
    let shop = Shop::open().await;
    for label in ["first", "second"] {
        let request = proto::billing::v1::AddPaymentMethodRequest { label: label.to_owned(), ..add("tok_approved") };
        shop.ledger.user(shop.anna).send(request).await;
        shop.ledger.advance(std::time::Duration::from_millis(1));
    }
    shop.card_of(shop.ledger.new_id(), "tok_approved").await;
    assert_eq!(shop.labels().await, ["second", "first"]);
}

#[tokio::test]
async fn while_the_provider_is_away_nothing_is_added_and_nothing_is_refused() {
    let schema = Arc::new(Schema::embedded().expect("the embedded schema can be read"));
    let ledger = TestLedger::open(millrace_billing::service(schema, Arc::new(Away), Settings::default())).await;
    let done = ledger.user(ledger.new_id()).send(add("tok_approved")).await;
    assert!(matches!(done.outcome(), Came::GivenBack { .. }));
}

/// A provider that cannot be reached.
#[derive(Debug)]
struct Away;

#[async_trait]
impl Provider for Away {
    async fn knows(&self, _: &CardToken) -> Result<bool, Unanswered> {
        Err(away())
    }

    async fn authorize(&self, _: &str, _: Reservation) -> Result<Outcome, Unanswered> {
        Err(away())
    }

    async fn capture(&self, _: &str, _: &str) -> Result<Outcome, Unanswered> {
        Err(away())
    }

    async fn void(&self, _: &str, _: &str) -> Result<Outcome, Unanswered> {
        Err(away())
    }

    async fn refund(&self, _: &str, _: &str) -> Result<Outcome, Unanswered> {
        Err(away())
    }

    async fn ask(&self, _: &str) -> Result<Option<Outcome>, Unanswered> {
        Err(away())
    }
}

fn away() -> Unanswered {
    Unanswered("it is away".to_owned())
}
