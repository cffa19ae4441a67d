use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::check::{self, Evidence};
use super::drain::drain;
use super::fault::Kind;
use super::history::History;
use super::plan::{BREATH, Plan};
use super::report::Report;
use super::shop::Shop;
use super::shopper::{Shopper, Street};
use super::strike::Rewind;

/// Before the first fault and after the last one.
const QUIET: Duration = Duration::from_secs(4);

/// What shoppers may take to hear of all their commands once everything has healed.
const TO_HEAR: Duration = Duration::from_mins(4);

/// How often each kind of call is tried at each gateway in the end.
const PROBES: usize = 3;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How long faults are done, more or less: so long that each kind comes at least once.
    pub time: Duration,
    pub shoppers: usize,
    pub kinds: Vec<Kind>,
}

/// Tells somebody who waits what happens.
pub type Say<'s> = &'s (dyn Fn(&str) + Sync);

/// Starts a shop, lets customers buy while faults are done to it, heals it, waits until everything has come to rest, and checks.
pub async fn run(options: &Options, say: Say<'_>) -> Report {
    say(&format!("seed {}: starting a shop of two instances each, three nodes and a Postgres", options.seed));
    let shop = Shop::start(&limits()).await;
    let folder = shop.processes.folder().to_owned();
    let kinds = possible(options, &shop, say).await;
    let plan = Plan::draw(options.seed, options.time, &kinds);
    tell_plan(&plan, &folder, say);
    let history = Arc::new(History::begin(&folder.join("history.jsonl")));
    let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
    let gateways = [0, 1].map(|number| shop.gateway(number));
    let street = Street { history: Arc::clone(&history), gateways, closing: closing.clone(), closed: closed.clone() };
    let mut shoppers = JoinSet::new();
    for number in 0..options.shoppers {
        shoppers.spawn(Shopper::new(street.clone(), number, options.seed.wrapping_add(number as u64)).shop());
    }
    sleep(QUIET).await;
    let (hits, rewinds) = strike_all(&shop, &plan, &history, say).await;
    shop.open_all();
    say("everything has healed");
    sleep(QUIET).await;
    closing.cancel();
    let (parked, rests) = drain(&shop, say, async {
        if timeout(TO_HEAR, async { while shoppers.join_next().await.is_some() {} }).await.is_err() {
            closed.cancel();
        }
        shoppers.join_all().await;
    })
    .await;
    let healed = history.now();
    for probe in 0..PROBES {
        for gateway in 0..gateways.len() {
            let number = options.shoppers + probe * gateways.len() + gateway;
            Shopper::new(street.clone(), number, options.seed).probe(gateway).await;
        }
    }
    let parked = if rests { [parked, drain(&shop, say, async {}).await.0].concat() } else { parked };
    let books = Books::read(&shop).await.expect("the databases can be read once everything is at rest");
    let history = history.entries();
    let evidence = Evidence { history, books, rewinds, parked, healed, hits };
    let violations = check::violations(&evidence);
    let ended = shop.ended.lock().unwrap().clone();
    Report { seed: options.seed, folder, evidence, violations, ended }
}

fn tell_plan(plan: &Plan, folder: &Path, say: Say<'_>) {
    say(&format!("the plan of seed {}: {} faults in {} rounds", plan.seed, plan.faults().count(), plan.rounds.len()));
    let lines = plan.rounds.iter().enumerate().map(|(number, round)| {
        let faults: Vec<_> = round.iter().map(ToString::to_string).collect();
        format!("{number}: {}\n", faults.join("; "))
    });
    let file = folder.join("plan");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    say(&format!("it is in {}; history and logs are beside it", file.display()));
}

/// How often each kind was to happen, and how often it met something.
type Hits = BTreeMap<Kind, (usize, usize)>;

async fn strike_all(shop: &Shop, plan: &Plan, history: &History, say: Say<'_>) -> (Hits, Vec<Rewind>) {
    let (mut hits, mut rewinds) = (Hits::new(), Vec::new());
    for (number, round) in plan.rounds.iter().enumerate() {
        let struck = round.iter().map(async |fault| {
            say(&format!("{:6.1} s  round {number}: {fault}", seconds(history.now())));
            let (hit, rewind) = shop.suffer(fault, || history.now()).await;
            if !hit {
                say(&format!("{:6.1} s  {} met nothing", seconds(history.now()), fault.kind.name()));
            }
            (fault.kind, hit, rewind)
        });
        for (kind, hit, rewind) in join_all(struck).await {
            let (planned, met) = hits.entry(kind).or_default();
            *planned += 1;
            *met += usize::from(hit);
            rewinds.extend(rewind);
        }
        sleep(BREATH).await;
    }
    (hits, rewinds)
}

/// The kinds that can be done here; says which cannot.
async fn possible(options: &Options, shop: &Shop, say: Say<'_>) -> Vec<Kind> {
    let small_disk = shop.postgres.lock().await.has_a_small_disk();
    let can = |kind: &Kind| match kind {
        Kind::DiskFull if !small_disk => Some("only root can give Postgres a disk of its own"),
        Kind::ClockShifted if std::env::var_os("MILLRACE_FAKETIME").is_none() => {
            Some("MILLRACE_FAKETIME does not name libfaketime")
        }
        _ => None,
    };
    let mut kinds = options.kinds.clone();
    kinds.retain(|kind| {
        let why = can(kind);
        if let Some(why) = why {
            say(&format!("without {}: {why}", kind.name()));
        }
        why.is_none()
    });
    kinds
}

/// All customers have one address here.
fn limits() -> [(&'static str, String); 2] {
    let limits = "calls-per-address=0,attempts-per-address=0,calls-per-user=0,connections-per-address=10000,open-calls-per-address=10000";
    [("MILLRACE_LIMITS", limits.to_owned()), ("MILLRACE_NATS_REPLICAS", "3".to_owned())]
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
pub(super) fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Where a run leaves what it saw.
pub fn forget(folder: &PathBuf) {
    // What cannot be deleted is left.
    let _ = std::fs::remove_dir_all(folder);
}
