use std::sync::Arc;
use std::time::Duration;

use event::{Id, Key, Record, Schema};
use ledger::{Delivery, Input, Leased, Processed};
use millrace_billing::{Charge, Settings};
use proto::billing::v1::{
    AddPaymentMethodRequest, AddPaymentMethodResponse, GetPaymentRequest, GetPaymentResponse, Payment, PaymentState,
};
use proto::money::v1::Money;
use proto::order::v1::{OrderCanceled, OrderCreated};
use proto::registration::v1::RegistrationNew;
use testkit::{Postgres, TempDir, TestLedger, folder};

pub(crate) use crate::watched::{Lost, Watched};

/// Longer than any effect is leased.
const A_WHILE: Duration = Duration::from_mins(1);
pub(crate) const PRICE: i64 = 2499;

/// Billing with the simulated provider, and Anna, who lives in Germany.
pub(crate) struct Shop {
    pub(crate) ledger: TestLedger,
    pub(crate) provider: Arc<Watched>,
    pub(crate) books: TempDir,
    pub(crate) anna: Id,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(Duration::ZERO, Settings::default()).await
    }

    /// `late_by`: how late the provider answers for `tok_late`.
    pub(crate) async fn with(late_by: Duration, settings: Settings) -> Self {
        let books = folder();
        let provider = Watched::open(&address(&books), late_by).await;
        let ledger = TestLedger::open(service(Arc::clone(&provider), settings)).await;
        Self::with_anna(ledger, provider, books).await
    }

    pub(crate) async fn on_postgres() -> Self {
        let provider = Watched::open(&Postgres::database().await, Duration::ZERO).await;
        let ledger = TestLedger::on_postgres(service(Arc::clone(&provider), Settings::default())).await;
        Self::with_anna(ledger, provider, folder()).await
    }

    async fn with_anna(ledger: TestLedger, provider: Arc<Watched>, books: TempDir) -> Self {
        let anna = ledger.new_id();
        let shop = Self { ledger, provider, books, anna };
        shop.register(anna, "DE").await;
        shop
    }

    pub(crate) async fn register(&self, user: Id, country: &str) {
        let (user_id, country) = (user.to_string(), country.to_owned());
        self.ledger.hear(user, &RegistrationNew { user_id, country, ..Default::default() }).await;
    }

    /// The id of a new payment method of Anna's, by a German card.
    pub(crate) async fn card(&self, token: &str) -> String {
        self.card_of(self.anna, token).await
    }

    pub(crate) async fn card_of(&self, user: Id, token: &str) -> String {
        let done = self.ledger.user(user).send(add(token)).await;
        done.completed::<AddPaymentMethodResponse>().payment_method.unwrap_or_default().payment_method_id
    }

    /// Anna places an order at the usual price.
    pub(crate) async fn order(&self, card: &str) -> Id {
        let id = self.ledger.new_id();
        self.ledger.hear(id, &order_of(self.anna, card, PRICE)).await;
        id
    }

    pub(crate) async fn cancel(&self, order: Id) {
        self.ledger.hear(order, &OrderCanceled { order_id: order.to_string(), ..Default::default() }).await;
    }

    /// Begins the one effect that is due, without finishing it.
    pub(crate) async fn begin(&self) -> Leased {
        let mut leased =
            self.ledger.ledger().lease_effects(Duration::from_secs(30), 10).await.expect("effects can be leased");
        let (one, none) = (leased.pop(), leased.pop());
        assert!(none.is_none(), "two effects are due");
        one.expect("an effect is due")
    }

    /// Performs an effect that was begun, and takes its answer in.
    pub(crate) async fn finish(&self, leased: Leased) -> Processed {
        self.attempt(leased).await.expect("the provider answers")
    }

    /// The same, if the provider answers.
    pub(crate) async fn attempt(&self, leased: Leased) -> Option<Processed> {
        let answer = self.ledger.ledger().perform(leased).await.ok()?;
        let delivery = Delivery { input: Input::Answer(answer), delivered: 1, span: tracing::Span::none() };
        Some(self.ledger.ledger().process(vec![delivery]).await)
    }

    /// Lets time pass until there is nothing left to be done.
    pub(crate) async fn settle(&self) {
        for _ in 0..10 {
            self.ledger.perform_effects().await;
            self.ledger.advance(A_WHILE);
        }
    }

    /// The payment as Anna sees it.
    pub(crate) async fn payment(&self, order: Id) -> Payment {
        let request = GetPaymentRequest { order_id: order.to_string() };
        let answer = self.ledger.user(self.anna).ask::<_, GetPaymentResponse>(request).await;
        answer.expect("it is Anna's").payment.unwrap_or_default()
    }

    pub(crate) async fn state(&self, order: Id) -> PaymentState {
        self.payment(order).await.state()
    }

    /// What happened to the payment of an order.
    pub(crate) async fn history(&self, order: Id) -> Vec<String> {
        let records: Vec<Record> = self.ledger.events(&Key::new("payment", order)).await;
        records
            .iter()
            .map(|record| record.type_name.trim_start_matches("millrace.billing.v1.Payment").to_owned())
            .collect()
    }

    pub(crate) async fn charges(&self) -> Vec<Charge> {
        self.provider.simulated.charges().await.expect("the books can be read")
    }

    /// What Anna has paid, all told.
    pub(crate) async fn taken(&self) -> i64 {
        self.charges().await.iter().map(Charge::taken).sum()
    }
}

pub(crate) fn order_of(customer: Id, card: &str, minor: i64) -> OrderCreated {
    OrderCreated {
        customer_id: customer.to_string(),
        total: Some(Money { currency: "EUR".to_owned(), minor }),
        payment_method_id: card.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn address(books: &TempDir) -> String {
    format!("sqlite://{}", books.path().join("provider.db").display())
}

pub(crate) fn add(token: &str) -> AddPaymentMethodRequest {
    AddPaymentMethodRequest { card_token: token.to_owned(), country: "DE".to_owned(), label: "my card".to_owned() }
}

fn service(provider: Arc<Watched>, settings: Settings) -> serve::Service {
    let schema = Arc::new(Schema::embedded().expect("the embedded schema can be read"));
    millrace_billing::service(schema, provider, settings)
}
