//! `PROMISES.md` and the tests that it names are kept in step.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every text between backticks that can only be the name of a test.
fn named(page: &str) -> BTreeSet<&str> {
    let is_test = |text: &&str| {
        text.len() > 15 && text.contains('_') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    page.split('`').skip(1).step_by(2).filter(is_test).collect()
}

pub(crate) fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("PROMISES.md")).unwrap();
    let mut all = String::new();
    for folder in ["crates", "gateway", "services", "tests"] {
        sources(&root.join(folder), &mut all);
    }
    let names = named(&page);
    assert!(names.len() > 50, "the page names its tests: {names:?}");
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| !all.contains(&format!("fn {name}(")) && !all.contains(&format!("mod {name} ")))
        .collect();
    assert!(missing.is_empty(), "PROMISES.md names tests that there are not: {missing:?}");
}
