use std::sync::Arc;
use std::time::Duration;

use event::{Id, Record};
use fault::Point;
use ledger::{CommandResult, Delivery, Ended, Leased, Ledger, Outcome};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tracing::Span;

use crate::Tasks;
use crate::measured::Meters;

/// Deliveries that one transaction takes at most. Large batches rule the CPU that an order costs; past some hundred they bring nothing.
const BATCH: usize = 256;
/// A transaction of so many deliveries says that there is much to do. Then the lane gathers more before the next one.
const MANY: usize = 4;
/// How long a lane gathers at most. Less if its last transaction took less: whoever waits does so about twice as long.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// After such a pause there is not much to do any more.
const PAUSE: Duration = Duration::from_millis(50);
/// A lane lets everybody else have their turn so often before it takes it that nobody has more to bring.
const TURNS: usize = 4;
/// How long what only moves a cursor waits for something to be done in the same transaction: most often the next event of its key.
const COMPANY: Duration = Duration::from_millis(20);
/// Deliveries that wait for one lane at most; then whoever brings more waits.
const QUEUE: usize = 1024;
/// Batches that wait for the relay at most. What finds no place is published from the log a little later.
const RELAY_QUEUE: usize = 1024;

/// Deals deliveries to lanes by their target aggregate, so that what concerns one aggregate meets in one transaction instead of at a lock.
#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: Arc<[mpsc::Sender<Job>]>,
}

#[derive(Debug)]
struct Job {
    delivery: Delivery,
    since: Instant,
    done: oneshot::Sender<Outcome>,
}

/// Who is told of a commit.
#[derive(Clone, Debug)]
pub struct Committed {
    relay: mpsc::Sender<Vec<Record>>,
    wished: Arc<Notify>,
    /// Bounded by what the ledger leases at once.
    leased: mpsc::UnboundedSender<Leased>,
}

impl Committed {
    /// The second part is the relay's end, the third that of the worker of effects.
    pub fn new() -> (Self, mpsc::Receiver<Vec<Record>>, mpsc::UnboundedReceiver<Leased>) {
        let (relay, to_relay) = mpsc::channel(RELAY_QUEUE);
        let (leased, to_worker) = mpsc::unbounded_channel();
        (Self { relay, wished: Arc::new(Notify::new()), leased }, to_relay, to_worker)
    }

    /// Rings when effects were wished that nobody has leased.
    pub fn wished(&self) -> Arc<Notify> {
        Arc::clone(&self.wished)
    }

    fn tell(&self, appended: Vec<Record>, wished: bool, leased: Vec<Leased>) {
        for one in leased {
            // Without a worker its lease runs out.
            let _ = self.leased.send(one);
        }
        if !appended.is_empty() && self.relay.try_send(appended).is_err() {
            tracing::debug!("the relay is busy; events will be published from the log");
        }
        if wished {
            self.wished.notify_one();
        }
    }
}

impl Lanes {
    /// Starts the lanes. They end once every clone of the result is dropped and what they hold is done.
    pub fn start(ledger: &Ledger, committed: &Committed, tasks: &Tasks) -> Self {
        let lane = |_| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            tasks.spawn(work(ledger.clone(), committed.clone(), receiver));
            sender
        };
        Self { lanes: (0..ledger.lanes()).map(lane).collect() }
    }

    /// Puts a delivery into its lane, as soon as there is room; the result comes later. Deliveries of one aggregate keep their order.
    pub async fn enqueue(&self, delivery: Delivery) -> oneshot::Receiver<Outcome> {
        let (done, outcome) = oneshot::channel();
        let lane = lane_of(delivery.lane_id(), self.lanes.len());
        // Fails only after the lanes' tasks have ended; then the dropped sender tells it.
        let _ = self.lanes[lane].send(Job { delivery, since: Instant::now(), done }).await;
        outcome
    }

    /// Puts a delivery into its lane and waits for what becomes of it.
    pub async fn submit(&self, delivery: Delivery) -> Outcome {
        outcome(self.enqueue(delivery).await).await
    }
}

/// What became of an enqueued delivery. If its lane ended first, it was given back.
pub(crate) async fn outcome(receiver: oneshot::Receiver<Outcome>) -> Outcome {
    let stopping = || Outcome::GivenBack { delay: Duration::ZERO, reason: "this instance is stopping".to_owned() };
    receiver.await.unwrap_or_else(|_| stopping())
}

async fn work(ledger: Ledger, committed: Committed, mut jobs: mpsc::Receiver<Job>) {
    let meters = Meters::of(&ledger);
    let mut waiting = Vec::with_capacity(BATCH);
    let (mut gathers, mut ended) = (Duration::ZERO, Instant::now());
    while jobs.recv_many(&mut waiting, BATCH).await > 0 {
        find_company(&ledger, &mut jobs, &mut waiting).await;
        if !gathers.is_zero() && waiting.len() < BATCH && ended.elapsed() < PAUSE {
            tokio::time::sleep(gathers).await;
        }
        gather(&mut jobs, &mut waiting).await;
        let (began, many) = (Instant::now(), waiting.len() >= MANY);
        let measured: Vec<_> = waiting.iter().map(|job| meters.measure(&job.delivery, job.since)).collect();
        let told: Vec<_> = waiting.iter().map(|job| job.delivery.span.clone()).collect();
        let (batch, done): (Vec<_>, Vec<_>) = waiting.drain(..).map(|job| (job.delivery, job.done)).unzip();
        fault::reach(Point::LaneReceived).await;
        let processed = ledger.process(batch).await;
        ended = Instant::now();
        gathers = if many { (ended - began).min(GATHER_MAX) } else { Duration::ZERO };
        committed.tell(processed.appended, processed.wished, processed.leased);
        // What others wait for to begin goes out first, and what was asked is answered while they begin.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        let now = ledger.about_now();
        for (((done, span), measured), outcome) in done.into_iter().zip(told).zip(measured).zip(processed.outcomes) {
            record(&span, &outcome);
            measured.note(&outcome, now);
            // Whoever asked may have gone; what was done stays done.
            let _ = done.send(outcome);
        }
    }
}

/// Waits as long as nothing has come that anybody waits for.
async fn find_company(ledger: &Ledger, jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>) {
    let until = Instant::now() + COMPANY;
    let mut looked_at = 0;
    while waiting.len() < BATCH && waiting[looked_at..].iter().all(|job| ledger.is_skipped(&job.delivery)) {
        looked_at = waiting.len();
        let more = jobs.recv_many(waiting, BATCH - looked_at);
        if tokio::time::timeout_at(until, more).await.is_ok_and(|more| more > 0) {
            continue;
        }
        return;
    }
}

/// Takes what has come, and lets those who are at work on this thread bring the rest of a burst.
async fn gather(jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>) {
    let mut turns = 0;
    while turns < TURNS && waiting.len() < BATCH {
        tokio::task::yield_now().await;
        turns += 1;
        while waiting.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            waiting.push(job);
            turns = 0;
        }
    }
}

/// Says in a span, and in the log, what came of it. A gap is not the end of it: the event comes again.
fn record(span: &Span, outcome: &Outcome) {
    if *outcome != Outcome::Gap {
        trace::span::record_outcome(span, outcome.name());
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        span.in_scope(|| tracing::debug!(outcome = outcome.name(), "taken in"));
    }
    if let Outcome::Ended(Ended { result: CommandResult::Failed(_), .. }) = outcome {
        trace::span::record_failure(span, outcome.name());
    }
}

/// The last bytes of an id are drawn by chance or a hash, so they spread evenly; the first are a time.
fn lane_of(id: Id, lanes: usize) -> usize {
    usize::from(id.as_bytes()[15]) % lanes.max(1)
}
