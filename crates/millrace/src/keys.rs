//! `millrace keys`: what each role's process must be given, as variables. The only command that handles the master key but `up`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use identity::MasterKey;
use ledger::operator::OPERATOR;
use ring::rand::SystemRandom;
use secrecy::ExposeSecret as _;

use crate::Role;
use crate::settings::{key_variable, operator_key_variable, pair_variable};

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

/// The file in the data folder that holds the master key.
pub const MASTER: &str = "master.key";

/// Whose keys are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Role(Role),
    /// Whoever works with `millrace parked` and `millrace commands`.
    Operator,
}

impl FromStr for Holder {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == OPERATOR { Ok(Self::Operator) } else { name.parse().map(Self::Role) }
    }
}

/// Reads the master key from a file, if it is there.
pub fn read(path: &Path) -> Result<Option<MasterKey>, KeysError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.trim().parse().map_err(|source| KeysError::Key { path: path.to_owned(), source })?;
            Ok(Some(key))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeysError::File { path: path.to_owned(), source }),
    }
}

/// Reads the master key from a file, or draws one into it that only its owner may read.
pub fn read_or_draw(path: &Path) -> Result<MasterKey, KeysError> {
    let failed = |source| KeysError::File { path: path.to_owned(), source };
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let key = MasterKey::draw(&SystemRandom::new()).map_err(KeysError::Draw)?;
    // Written whole before it gets its name: half a key would be worse than none.
    let draft = path.with_extension("draft");
    let mut file = ledger::private_file(&draft).map_err(failed)?;
    writeln!(file, "{}", key.to_text().expose_secret()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)?;
    Ok(key)
}

/// The variables that an operator needs, one `NAME=value` a line: a key for each service.
pub fn operator_variables(master: &MasterKey) -> String {
    let line = |role: Role| {
        let key = master.owner(role.name()).pair(OPERATOR);
        format!("{}={}\n", operator_key_variable(role), key.to_text().expose_secret())
    };
    Role::services().map(line).collect()
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
