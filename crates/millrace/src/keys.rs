//! `millrace keys`: what each role's process must be given, as variables. The only command that handles the master key but `up`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use identity::MasterKey;
use ring::rand::SystemRandom;
use secrecy::ExposeSecret as _;

use crate::Role;
use crate::settings::{key_variable, pair_variable};

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no master key: {source}")]
    Key { path: PathBuf, source: identity::KeyError },
    #[error("no key can be drawn: {0}")]
    Draw(identity::KeyError),
}

/// Reads the master key from a file, or draws one into it that only its owner may read.
pub fn read_or_draw(path: &Path) -> Result<MasterKey, KeysError> {
    let failed = |source| KeysError::File { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|source| KeysError::Key { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = MasterKey::draw(&SystemRandom::new()).map_err(KeysError::Draw)?;
            // Written whole before it gets its name: half a key would be worse than none.
            let draft = path.with_extension("draft");
            let mut file = ledger::private_file(&draft).map_err(failed)?;
            writeln!(file, "{}", key.to_text().expose_secret()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&draft, path).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The variables that these roles need, one `NAME=value` a line.
pub fn variables(master: &MasterKey, roles: &[Role]) -> String {
    let mut lines = String::new();
    for role in roles {
        if *role != Role::Gateway {
            let key = master.owner(role.name());
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}={}", key_variable(*role), key.to_text().expose_secret());
        }
        for owner in role.calls() {
            let key = master.owner(owner.name()).pair(role.name());
            let _ = writeln!(lines, "{}={}", pair_variable(*role, *owner), key.to_text().expose_secret());
        }
    }
    lines
}
