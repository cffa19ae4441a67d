use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millrace_billing::{CardToken, Outcome, Provider, Reservation, Simulated, Unanswered};

/// The simulated provider, with a list of what it was asked, over a line that loses what a test wants it to.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) simulated: Simulated,
    refuses_to_take: AtomicBool,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    calls: Vec<&'static str>,
    /// By the number of the call.
    lost: BTreeMap<usize, Lost>,
}

/// What becomes of a call that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// It never arrives.
    There,
    /// It is done, and its answer is lost.
    Back,
}

impl Watched {
    pub(crate) async fn open(address: &str, late_by: Duration) -> Arc<Self> {
        let simulated = Simulated::open(address).await.expect("the books can be opened").late_by(late_by);
        Arc::new(Self { simulated, refuses_to_take: AtomicBool::default(), line: Mutex::default() })
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.with_line(|line| line.calls.clone())
    }

    /// Loses the call that comes after so many others.
    pub(crate) fn lose(&self, after: usize, lost: Lost) {
        self.with_line(|line| line.lost.insert(line.calls.len() + after, lost));
    }

    pub(crate) fn loses_nothing_more(&self) {
        self.with_line(|line| line.lost.clear());
    }

    /// Whether what was reserved cannot be taken from now on.
    pub(crate) fn refuse_to_take(&self, refuses: bool) {
        self.refuses_to_take.store(refuses, Ordering::Relaxed);
    }

    fn with_line<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        change(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, Unanswered>> + Send,
    ) -> Result<T, Unanswered> {
        let lost = self.with_line(|line| {
            line.calls.push(name);
            line.lost.remove(&(line.calls.len() - 1))
        });
        match lost {
            None => call.await,
            Some(Lost::There) => Err(Unanswered("the call was lost".to_owned())),
            Some(Lost::Back) => {
                call.await?;
                Err(Unanswered("the answer was lost".to_owned()))
            }
        }
    }
}

#[async_trait]
impl Provider for Watched {
    async fn knows(&self, card: &CardToken) -> Result<bool, Unanswered> {
        self.simulated.knows(card).await
    }

    async fn authorize(&self, reference: &str, reservation: Reservation) -> Result<Outcome, Unanswered> {
        self.call("authorize", self.simulated.authorize(reference, reservation)).await
    }

    async fn capture(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        // The books refuse to take what nobody has reserved, and remember that under the reference.
        let charge = if self.refuses_to_take.load(Ordering::Relaxed) { "nothing" } else { charge };
        self.call("capture", self.simulated.capture(reference, charge)).await
    }

    async fn void(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        self.call("void", self.simulated.void(reference, charge)).await
    }

    async fn refund(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        self.call("refund", self.simulated.refund(reference, charge)).await
    }

    async fn ask(&self, reference: &str) -> Result<Option<Outcome>, Unanswered> {
        self.call("ask", self.simulated.ask(reference)).await
    }
}
