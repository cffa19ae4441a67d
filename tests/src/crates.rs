//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// From the bottom to the top. A crate may depend on those on lower steps only.
const STEPS: [&[&str]; 12] = [
    &["millrace-fault"],
    &["millrace-proto", "millrace-broker"],
    &["millrace-event"],
    &["millrace-trace"],
    &["millrace-meter"],
    &["millrace-ledger"],
    &["millrace-identity", "millrace-messaging"],
    &["millrace-serve"],
    &["millrace-registration", "millrace-user", "millrace-order", "millrace-billing", "millrace-gateway"],
    &["millrace"],
    &["millrace-testkit", "millrace-abuse", "millrace-fuzz", "millrace-load", "millrace-model", "millrace-mutants"],
    &["millrace-tests", "millrace-faults", "millrace-sim"],
];

#[test]
fn dependencies_point_in_one_direction() {
    for (package, dependencies) in dependencies("normal") {
        let step = step_of(&package);
        for dependency in dependencies.iter().filter(|name| name.starts_with("millrace")) {
            assert!(step_of(dependency) < step, "{package} must not depend on {dependency}");
        }
    }
}

#[test]
fn testkit_is_for_tests_alone() {
    let mut others = dependencies("normal");
    for for_tests_alone in ["millrace-faults", "millrace-sim"] {
        others.remove(for_tests_alone).unwrap();
    }
    for (package, dependencies) in others {
        assert!(!dependencies.contains("millrace-testkit"), "{package} depends on testkit outside tests");
    }
}

#[test]
fn only_messaging_names_the_broker_s_client() {
    let users: Vec<_> =
        dependencies("normal").into_iter().filter(|(_, on)| on.contains("async-nats")).map(|(name, _)| name).collect();
    // The load driver measures what the client costs without us; the faults do to the broker what happens to brokers.
    assert_eq!(users, ["millrace-faults", "millrace-load", "millrace-messaging"]);
}

#[test]
fn the_ledger_knows_neither_the_broker_nor_the_runtime() {
    let ledger = &dependencies("normal")["millrace-ledger"];
    assert!(!ledger.contains("async-nats") && !ledger.contains("tokio"), "{ledger:?}");
}

fn step_of(package: &str) -> usize {
    STEPS
        .iter()
        .position(|step| step.contains(&package))
        .unwrap_or_else(|| panic!("{package} has no place in the architecture"))
}

/// The direct dependencies of each of our packages, by kind.
fn dependencies(kind: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_wanted = |dependency: &&serde_json::Value| dependency["kind"].as_str().unwrap_or("normal") == kind;
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let of = |package: &serde_json::Value| {
        package["dependencies"].as_array().unwrap().iter().filter(is_wanted).map(name).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (name(package), of(package))).collect()
}
