//! Where a run's files are: in memory, and gone with it.

use std::path::Path;

use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";
const PREFIX: &str = "millrace-sim-";

/// Where files are memory, if there is such a place. The name says whose they are.
pub(crate) fn in_memory() -> TempDir {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&prefix);
    let folder = builder.tempdir_in(MEMORY).or_else(|_| builder.tempdir());
    folder.unwrap_or_else(|error| unreachable!("a temporary folder: {error}"))
}

/// Deletes what runs have left behind that were ended before their end.
pub fn sweep() {
    for place in [Path::new(MEMORY), &std::env::temp_dir()] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split_once('-'));
            if owner.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
                // Who may not delete it did not make it.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}
