//! The short run of a target: what it begins with, what was found before, and some thousand inputs that are nearly those, the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::Target;
use crate::mutate::Chance;

/// Where the inputs are kept that are to be tried each time, one folder for each target: what was found once, and what is worth beginning with.
pub fn corpus(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Feeds the target. Panics with the command that feeds it again with what it did not bear.
pub fn run(target: Target, seed: u64) {
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty(), "{} begins with nothing", target.name);
    inputs.extend(kept(target));
    for input in &inputs {
        feed(target, input, seed);
    }
    let mut chance = Chance::new(seed);
    for _ in 0..target.short {
        feed(target, &chance.nearly(&inputs), seed);
    }
}

fn kept(target: Target) -> Vec<Vec<u8>> {
    let Ok(files) = std::fs::read_dir(corpus(target)) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn feed(target: Target, input: &[u8], seed: u64) {
    if catch_unwind(AssertUnwindSafe(|| (target.feed)(input))).is_err() {
        let path = std::env::temp_dir().join(format!("millrace-fuzz-{}-{seed}", target.name));
        std::fs::write(&path, input).unwrap();
        let (name, path) = (target.name, path.display());
        panic!("{name} does not bear this, found with the seed {seed}; again by `make fuzz TARGET={name} ARGS={path}`");
    }
}
