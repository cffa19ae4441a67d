use std::sync::Arc;
use std::time::Duration;

use ledger::{Error, Lookup, Result};

use crate::domain::Limits;
use crate::provider::{Provider, Unanswered};
use crate::store::payment_method;

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the simulated provider keeps its books: `sqlite://<path>` or `postgres://…`. For whoever [opens](crate::Simulated::open) it.
    pub provider: String,
    pub limits: Limits,
    /// How long the provider may take for one answer: a quarter of an attempt at an effect, which has [ten seconds](serve::ATTEMPT), or less.
    /// A charge is two calls or three, each asked for first in a later attempt; so every attempt gets further than the one before, as long as
    /// each answer comes within that time.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let patience = serve::ATTEMPT / 4;
        Self { provider: "sqlite://provider.db".to_owned(), limits: Limits::default(), patience }
    }
}

/// What handlers are given.
#[derive(Debug)]
pub(crate) struct Billing {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) settings: Settings,
    pub(crate) payment_methods: Lookup<payment_method::Entity>,
}

impl Billing {
    /// The provider's answer, if it comes in time.
    pub(crate) async fn in_time<T>(&self, call: impl Future<Output = Result<T, Unanswered>> + Send) -> Result<T> {
        let answered = tokio::time::timeout(self.settings.patience, call).await;
        let answered = answered.unwrap_or_else(|_| Err(Unanswered("it took too long".to_owned())));
        answered.map_err(|unanswered| Error::Transient(unanswered.to_string()))
    }
}
