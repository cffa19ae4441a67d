//! What is measured, in which order.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::customers::{self, Customer};
use crate::drive::{Bound, Processed, Run, Until, closed, open};
use crate::instances;
use crate::processes::Split;
use crate::raw;
use crate::report::{Report, say};
use crate::shop::Shop;

/// Callers in the closed loops.
pub(crate) const CALLERS: usize = 64;
/// Rounds in which the shop and the floor take turns, so that what else the machine does meets both.
pub(crate) const ROUNDS: u32 = 3;
/// Where the cost of an order is measured: after so many.
const PAST_ORDERS: [(usize, &str); 3] = [(1_000, "1k"), (10_000, "10k"), (100_000, "100k")];
/// Over so many orders.
const WINDOW: usize = 4_000;
/// A process is at rest after so long.
const REST: Duration = Duration::from_secs(3);
/// What an open rate is set to, of what a closed loop came to.
const CAPACITY_SHARE: f64 = 0.8;

/// What can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Placed to PROCESSED, with everything in one process.
    Processed,
    /// PlaceOrder alone, and the floor of the same.
    PlaceOrder,
    /// Placed to PROCESSED with one instance of order and billing on Postgres, and with two. Begin it with `scripts/postgres`.
    Instances,
}

pub(crate) async fn run(time: Duration, only: Option<Part>, output: &Path) -> Result<()> {
    let mut report = Report::default();
    let wanted = |part| only.is_none_or(|only| only == part);
    say(&format!("each figure takes {} s", time.as_secs()));
    if wanted(Part::Processed) {
        processed(time, &mut report).await?;
    }
    if wanted(Part::PlaceOrder) {
        place_order(time, &mut report).await?;
    }
    // It needs another server, and is not among the figures that are written.
    if only == Some(Part::Instances) {
        instances::compare(time).await?;
    }
    if only.is_none() { report.write(output) } else { Ok(()) }
}

async fn processed(time: Duration, report: &mut Report) -> Result<()> {
    let shop = Shop::up().await.context("millrace up")?;
    report.set("start_s", shop.started_in.as_secs_f64());
    tokio::time::sleep(REST).await;
    let rest = shop.rss_mb()?;
    report.set("rss_mb.millrace_rest", rest.ours);
    say(&format!(
        "all services in one process: served after {:.2} s; at rest {}",
        shop.started_in.as_secs_f64(),
        mb(rest)
    ));

    let customers = customers::enter(shop.port, CALLERS, true).await?;
    let until = Until::Processed(Processed::listen(&shop.nats_url).await?);
    closed(&customers, CALLERS, &until, Bound::Orders(500)).await?;
    let alone = closed(&customers, 1, &until, Bound::Time(time)).await?;
    say(&format!("placed to PROCESSED, one caller: {}", described(&alone)));
    let (run, cpu) = measured(&shop, closed(&customers, CALLERS, &until, Bound::Time(time))).await?;
    say(&format!("placed to PROCESSED, {CALLERS} callers: {}; {}", described(&run), per_order(cpu)));
    report.set("processed.per_s", run.per_s());
    report.set("processed.p50_ms", p(&run, 0.5)?);
    report.set("processed.cpu_ms", cpu.ours + cpu.nats);

    let (after, peak) = (shop.rss_mb()?, shop.peak_mb()?);
    say(&format!("memory after it {}, at most {}", mb(after), mb(peak)));
    report.set("rss_mb.millrace_peak", peak.ours);
    report.set("rss_mb.nats_peak", peak.nats);
    Ok(())
}

async fn place_order(time: Duration, report: &mut Report) -> Result<()> {
    let shop = Shop::without_billing().await.context("millrace run")?;
    let floor = Shop::floor().context("the floor")?;
    let customers = customers::enter(shop.port, CALLERS, false).await?;
    let of_floor = customers::of_floor(floor.port, CALLERS)?;
    closed(&of_floor, CALLERS, &Until::Answered, Bound::Orders(PAST_ORDERS[0].0)).await?;

    let [at_1k, _, at_100k] = costs(&shop, &customers, async || {
        let placed = unloaded(time, &customers, &of_floor, report).await?;
        Ok(placed + against_floor((&shop, &customers), (&floor, &of_floor), time, report).await?)
    })
    .await?;
    report.set("ratio.cost_100k_vs_1k", at_100k / at_1k);
    Ok(())
}

/// What an order costs after more and more of them. `between` is done when there are some, and says how many more it placed.
async fn costs(shop: &Shop, customers: &[Customer], between: impl AsyncFnOnce() -> Result<usize>) -> Result<[f64; 3]> {
    let mut costs = [0.0; 3];
    let mut placed = 0;
    let mut between = Some(between);
    for ((past, name), slot) in PAST_ORDERS.into_iter().zip(&mut costs) {
        placed += closed(customers, CALLERS, &Until::Answered, Bound::Orders(past.saturating_sub(placed)))
            .await?
            .samples
            .len();
        let (run, cpu) = measured(shop, closed(customers, CALLERS, &Until::Answered, Bound::Orders(WINDOW))).await?;
        say(&format!("PlaceOrder after {name} orders: {}", per_order(cpu)));
        *slot = cpu.ours + cpu.nats;
        placed += run.samples.len();
        if let Some(between) = between.take_if(|_| past > 1_000) {
            placed += between().await?;
        }
    }
    Ok(costs)
}

/// One caller, and what its call is made of. How many orders it placed.
async fn unloaded(time: Duration, customers: &[Customer], of_floor: &[Customer], report: &mut Report) -> Result<usize> {
    let raw = raw::measure(time).await?;
    for (name, part) in [("publication", raw.publish), ("commit", raw.commit), ("unary call", raw.unary)] {
        say(&format!("one {name}: p50 {:.3} ms; {:.0}/s", part.p50_ms, part.per_s));
    }
    let run = closed(customers, 1, &Until::Answered, Bound::Time(time)).await?;
    let floor = closed(of_floor, 1, &Until::Answered, Bound::Time(time)).await?;
    say(&format!("PlaceOrder, one caller: {}", described(&run)));
    say(&format!("the floor, one caller: {}", described(&floor)));
    report.set("place_order.p50_ms", p(&run, 0.5)?);
    report.set("ratio.p50_vs_raw", p(&run, 0.5)? / raw.p50_ms());
    report.set("raw.publish_per_s", raw.publish.per_s);
    report.set("raw.commit_per_s", raw.commit.per_s);
    report.set("raw.unary_per_s", raw.unary.per_s);
    Ok(run.samples.len())
}

/// All callers, by turns; and then at a fixed rate near what was reached. How many orders the shop got.
async fn against_floor(
    (shop, customers): (&Shop, &[Customer]),
    (floor, of_floor): (&Shop, &[Customer]),
    time: Duration,
    report: &mut Report,
) -> Result<usize> {
    let (mut ours, mut theirs) = (Sum::default(), Sum::default());
    for _ in 0..ROUNDS {
        theirs.add(measured(floor, closed(of_floor, CALLERS, &Until::Answered, Bound::Time(time / ROUNDS))).await?);
        ours.add(measured(shop, closed(customers, CALLERS, &Until::Answered, Bound::Time(time / ROUNDS))).await?);
    }
    let ((ours, our_cpu), (theirs, their_cpu)) = (ours.all()?, theirs.all()?);
    say(&format!("PlaceOrder, {CALLERS} callers: {}; {}", described(&ours), per_order(our_cpu)));
    say(&format!("the floor, {CALLERS} callers: {}; {}", described(&theirs), per_order(their_cpu)));
    report.set("place_order.per_s", ours.per_s());
    report.set("place_order.p99_ms", p(&ours, 0.99)?);
    report.set("place_order.cpu_ms", our_cpu.ours + our_cpu.nats);
    report.set("floor.per_s", theirs.per_s());
    report.set("floor.cpu_ms", their_cpu.ours + their_cpu.nats);
    report.set("ratio.throughput_vs_floor", ours.per_s() / theirs.per_s());
    let rate = ours.per_s() * CAPACITY_SHARE;
    let at_rate = open(customers, rate, time).await?;
    say(&format!("PlaceOrder at capacity, {rate:.0}/s arriving: {}", described(&at_rate)));
    Ok(ours.samples.len() + at_rate.samples.len())
}

/// What a run came to, and what each of its orders cost.
pub(crate) async fn measured(shop: &Shop, run: impl Future<Output = Result<Run>>) -> Result<(Run, Split)> {
    let before = shop.cpu_ms()?;
    let run = run.await?;
    let used = shop.cpu_ms()? - before;
    let orders = run.orders();
    Ok((run, Split { ours: used.ours / orders, nats: used.nats / orders }))
}

/// Several runs taken together.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    run: Option<Run>,
    cpu: Split,
}

impl Sum {
    pub(crate) fn add(&mut self, (run, cpu): (Run, Split)) {
        let orders = run.orders();
        self.cpu = self.cpu + Split { ours: cpu.ours * orders, nats: cpu.nats * orders };
        match &mut self.run {
            Some(sum) => {
                sum.samples.extend([run.samples]);
                sum.took += run.took;
            }
            none => *none = Some(run),
        }
    }

    pub(crate) fn all(self) -> Result<(Run, Split)> {
        let run = self.run.context("there was no run")?;
        let orders = run.orders();
        Ok((run, Split { ours: self.cpu.ours / orders, nats: self.cpu.nats / orders }))
    }
}

fn p(run: &Run, share: f64) -> Result<f64> {
    run.samples.ms(share).context("not one order was placed")
}

pub(crate) fn described(run: &Run) -> String {
    let ms = |share| run.samples.ms(share).unwrap_or(f64::NAN);
    format!("{:.0}/s, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", run.per_s(), ms(0.5), ms(0.99), ms(0.999))
}

pub(crate) fn per_order(cpu: Split) -> String {
    format!("CPU {:.3} ms an order (ours {:.3}, nats-server {:.3})", cpu.ours + cpu.nats, cpu.ours, cpu.nats)
}

fn mb(memory: Split) -> String {
    format!("{:.0} MB (nats-server {:.0} MB)", memory.ours, memory.nats)
}
