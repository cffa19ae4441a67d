use std::path::PathBuf;

/// The `millrace` executable of the same build: beside this one, or a folder above, as cargo puts a test's own executable into `deps`.
///
/// Cargo builds it together with the tests of the whole workspace, but not with those of this crate alone.
pub fn executable() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its executable");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("millrace")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no `millrace` beside {}: build it with `cargo build -p millrace`", own.display()))
}
