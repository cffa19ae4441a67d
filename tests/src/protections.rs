//! Every protection has a switch in the product, and tests that notice when it is gone.

use std::fs;
use std::path::Path;

use mutants::{Protection, noticed_by, table};

use crate::promises::sources;

fn all_sources(folders: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = String::new();
    for folder in folders {
        sources(&root.join(folder), &mut all);
    }
    all
}

#[test]
fn every_protection_can_be_switched_off_where_it_is_kept() {
    let all = all_sources(&["crates", "gateway", "services"]);
    for protection in Protection::ALL {
        let switch = format!("(::fault::Protection::{protection:?})");
        let found = all.contains(&format!("without(Protection::{protection:?})")) || all.contains(&switch);
        assert!(found, "nothing in the product asks whether it is without {protection:?}");
    }
}

#[test]
fn every_protection_has_tests_that_notice_and_they_exist() {
    let all = all_sources(&["crates", "gateway", "services", "tests"]);
    for protection in Protection::ALL {
        assert!(!noticed_by(*protection).is_empty(), "nobody would notice without {protection:?}");
        for test in noticed_by(*protection) {
            assert!(all.contains(&format!("fn {}(", test.name())), "{protection:?}: there is no test {}", test.1);
        }
    }
}

#[test]
fn the_tests_that_notice_run_before_all_others() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".config/nextest.toml");
    let config = fs::read_to_string(config).unwrap();
    for test in Protection::ALL.iter().flat_map(|protection| noticed_by(*protection)) {
        assert!(config.contains(&format!("test({})", test.name())), "{} is not among the first", test.name());
    }
}

#[test]
fn the_page_lists_every_protection_and_who_notices() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("PROMISES.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&table()), "PROMISES.md lacks what `make mutants ARGS=--list` prints:\n{}", table());
}
