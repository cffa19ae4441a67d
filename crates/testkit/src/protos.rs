use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::folder;

/// Where the project's protos are.
const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");

/// The descriptor set of one of the project's protos after a change, with its imports: what a newer version of a service brings. The file is
/// gone with the folder.
pub fn changed_proto(name: &str, change: impl FnOnce(&str) -> String) -> (TempDir, PathBuf) {
    let text = fs::read_to_string(Path::new(PROTOS).join(name)).expect("the project has such a proto");
    let changed = change(&text);
    let folder = folder();
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is writable");
    fs::write(&path, changed).expect("the folder is writable");
    // The first folder that has a file wins.
    let mut compiler = protox::Compiler::new([folder.path(), Path::new(PROTOS)]).expect("both are folders");
    compiler.include_imports(true).open_file(name).unwrap_or_else(|error| panic!("the changed proto: {error}"));
    let set = folder.path().join("descriptors.bin");
    fs::write(&set, compiler.encode_file_descriptor_set()).expect("the folder is writable");
    (folder, set)
}
