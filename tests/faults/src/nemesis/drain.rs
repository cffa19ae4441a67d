use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace::operator::{Found, Operator, Selection};
use tokio::time::sleep;

use super::books::Books;
use super::run::Say;
use super::shop::Shop;

/// How often the operator is told of the same thing and has it tried again, before it is given up.
const REDRIVES: usize = 3;

/// How often they decide about it at all: what comes still is stuck.
const DECISIONS: usize = 10;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// What is open and does not change for so long is stuck.
const STUCK: Duration = Duration::from_secs(100);

/// It may change for so long at most.
const PATIENCE: Duration = Duration::from_mins(8);

/// So much of what is stuck is shown.
const SHOWN: usize = 30;

/// Waits until everything has come to rest and `until` is over, while an operator decides about what is parked. The keys that were, and why;
/// and whether all is at rest. What is not is shown, and the checks find it afterwards.
pub(super) async fn drain(shop: &Shop, say: Say<'_>, until: impl Future<Output = ()>) -> (Vec<(String, String)>, bool) {
    let (began, mut changed) = (Instant::now(), Instant::now());
    let mut desk = Desk { operator: shop.operator(), listed: BTreeMap::new() };
    let mut before = Vec::new();
    let mut until = std::pin::pin!(until);
    let mut over = false;
    let rests = loop {
        tokio::select! {
            () = &mut until, if !over => over = true,
            () = sleep(LOOK) => {}
        }
        desk.decide(say).await;
        let Ok(books) = Books::read(shop).await else { continue };
        let open: Vec<_> = books.open().into_iter().filter(|line| !desk.has_listed(line)).collect();
        if open.is_empty() && over {
            say(&format!("everything has come to rest after {:.0} s", began.elapsed().as_secs_f64()));
            break true;
        }
        if open != before {
            (before, changed) = (open, Instant::now());
        }
        if over && (changed.elapsed() > STUCK || began.elapsed() > PATIENCE) {
            say(&format!("it does not come to rest, {} things are open:", before.len()));
            before.iter().take(SHOWN).for_each(|line| say(&format!("  {line}")));
            break false;
        }
    };
    (desk.listed.into_values().map(|(key, reason, _)| (key, reason)).collect(), rests)
}

/// An operator, and what they have seen: each parked thing with its key and reason, and how often it was decided about.
struct Desk {
    operator: Operator,
    listed: BTreeMap<String, (String, String, usize)>,
}

impl Desk {
    /// What is parked is driven again, and given up if that did not help.
    async fn decide(&mut self, say: Say<'_>) {
        let commands = Selection { commands: true, ..Selection::default() };
        let services: Vec<_> = self.operator.services().collect();
        for service in services {
            for selection in [&commands, &Selection::default()] {
                let found = self.operator.list(service, selection).await.unwrap_or_default();
                for one in found.iter().filter(|one| one.is_open()) {
                    self.decide_about(one, say).await;
                }
            }
        }
    }

    async fn decide_about(&mut self, found: &Found, say: Say<'_>) {
        let (parked, service) = (&found.parked, found.service);
        let (key, reason) = (parked.key.clone(), parked.reason.clone());
        let id = format!("{service} {}", parked.id);
        let (_, _, times) = self.listed.entry(id.clone()).or_insert_with(|| (key, reason.clone(), 0));
        *times += 1;
        let done = if *times <= REDRIVES {
            self.operator.redrive(found).await
        } else if *times <= DECISIONS {
            say(&format!("the operator drops {id}: {reason}"));
            self.operator.drop(found, "it came again").await
        } else {
            Ok(())
        };
        if let Err(error) = done {
            say(&format!("the operator cannot decide about {id}: {error}"));
        }
    }

    /// Whether a line is about something that was parked.
    fn has_listed(&self, line: &str) -> bool {
        let mut ids = self.listed.values().filter_map(|(key, _, _)| key.split('/').nth(1));
        ids.any(|id| !id.is_empty() && line.contains(id))
    }
}
