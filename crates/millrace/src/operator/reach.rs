//! Where services are, and the keys to call them with: from variables, or from the folder of an `up` on this machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use identity::{KeyError, PairKey};
use ledger::operator::OPERATOR;

use crate::Role;
use crate::keys::{self, KeysError};
use crate::settings::{endpoint_variable, operator_key_variable};

/// The file in the data folder of `up` that tells where its services listen.
const FILE: &str = "endpoints";

/// Why services cannot be called. Each is one sentence that the operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error(
        "there is no key to call {service} with: set {variable}, as `millrace keys {OPERATOR}` prints it, or name the folder with the \
         master key in --data"
    )]
    NoKey { service: Role, variable: String },
    #[error("{variable} is no key: {source}")]
    Key { variable: String, source: KeyError },
    #[error(transparent)]
    Master(#[from] KeysError),
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

/// A service, as an operator calls it.
#[derive(Clone, Debug)]
pub struct Service {
    pub address: String,
    pub key: PairKey,
}

/// Where these services are, and their keys. What a variable says comes first, then what the folder holds; services that neither tells of are
/// looked for where they listen if nothing else is said.
pub fn services(
    roles: &[Role],
    data: &Path,
    scheme: &str,
    get: impl Fn(String) -> Option<String>,
) -> Result<BTreeMap<Role, Service>, ReachError> {
    let told = read_endpoints(data)?;
    let master = keys::read(&data.join(keys::MASTER))?;
    let one = |role: &Role| {
        let variable = operator_key_variable(*role);
        let key = match (get(variable.clone()), &master) {
            (Some(text), _) => text.parse().map_err(|source| ReachError::Key { variable, source })?,
            (None, Some(master)) => master.owner(role.name()).pair(OPERATOR),
            (None, None) => return Err(ReachError::NoKey { service: *role, variable }),
        };
        let variable = endpoint_variable(role.name());
        let address = get(variable.clone()).or_else(|| told.get(&variable).cloned());
        let address = address.unwrap_or_else(|| format!("{scheme}://127.0.0.1:{}", role.default_port()));
        Ok((*role, Service { address, key }))
    };
    roles.iter().map(one).collect()
}

/// The variables that an `up` with this folder has left: where its services listen. Nothing, if none runs.
pub fn read_endpoints(data: &Path) -> Result<BTreeMap<String, String>, ReachError> {
    let path = data.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            Ok(text.lines().filter_map(pair).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(ReachError::File { path, source }),
    }
}

/// Leaves where services listen; nothing, once they do not any more.
pub fn write_endpoints(data: &Path, addresses: &BTreeMap<Role, String>) -> std::io::Result<()> {
    let path = data.join(FILE);
    if addresses.is_empty() {
        return fs::remove_file(path);
    }
    let mut lines = String::new();
    for (role, address) in addresses {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}={address}", endpoint_variable(role.name()));
    }
    let mut file = ledger::private_file(&path)?;
    file.set_len(0)?;
    file.write_all(lines.as_bytes())
}
