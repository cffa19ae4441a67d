//! The short form of `make nemesis`: each kind of fault that is over soon, once, on a plan that is always the same.
#![cfg(test)]

use std::time::Duration;

use millrace_faults::nemesis::{Kind, Options, forget, run};

/// Those that need minutes are left to the long form: the restored broker and database, and clocks, for which instances start twice.
const SOON: [Kind; 16] = [
    Kind::InstanceKilled,
    Kind::RoleKilled,
    Kind::InstancePaused,
    Kind::Delayed,
    Kind::Cut,
    Kind::OneWay,
    Kind::RequestsOnly,
    Kind::AnswersOnly,
    Kind::Reset,
    Kind::Sliced,
    Kind::NodeKilled,
    Kind::NodePaused,
    Kind::BrokerWiped,
    Kind::ConsumersDeleted,
    Kind::PostgresKilled,
    Kind::DiskFull,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_a_shop_it_keeps_what_it_promises() {
    let options = Options { seed: 1, time: Duration::ZERO, shoppers: 4, kinds: SOON.into() };
    let report = run(&options, &|line| println!("{line}")).await;
    println!("{}", report.summary());
    assert!(report.is_good(), "{} violations with seed {}", report.violations.len(), report.seed);
    forget(&report.folder);
}
