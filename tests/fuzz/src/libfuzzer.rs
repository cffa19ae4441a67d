//! One target as libFuzzer runs it, with libFuzzer's arguments. Which one is said in `MILLRACE_FUZZ_TARGET`; without that it prints the names
//! of all. Into the folder in `MILLRACE_FUZZ_SEEDS` it first writes what the target begins with. `scripts/fuzz` does all that.

#![no_main]
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::exit, reason = "for tests alone")]

use std::path::PathBuf;
use std::sync::OnceLock;

use millrace_fuzz::{TARGETS, Target, target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        choose();
    },
    |input: &[u8]| (CHOSEN.get().unwrap().feed)(input)
);

fn choose() {
    let Ok(name) = std::env::var("MILLRACE_FUZZ_TARGET") else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let chosen = *CHOSEN.get_or_init(|| target(&name).unwrap());
    if let Some(folder) = std::env::var_os("MILLRACE_FUZZ_SEEDS").map(PathBuf::from) {
        for (number, seed) in (chosen.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
