use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// The oldest series that works: command streams and consumers rely on what 2.11 brought. `scripts/nats-server` checks the same number.
pub const MINIMUM: Version = Version { major: 2, minor: 11, patch: 0 };

const NAME: &str = "nats-server";

/// A release of nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

/// An executable nats-server of at least [`MINIMUM`].
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
    version: Version,
}

impl Binary {
    /// The one that is `given`, which must then do; else the one on PATH; else the newest below the folder `fetched`, where
    /// `scripts/nats-server` puts it.
    pub fn find(given: Option<&Path>, fetched: &Path) -> Result<Self, Error> {
        if let Some(path) = given {
            return Self::at(path.to_owned());
        }
        let on_path = env::var_os("PATH").and_then(|path| {
            env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file()).map(Self::at)
        });
        match on_path {
            Some(Ok(binary)) => Ok(binary),
            // One on PATH that will not do is only worth a word if there is no other.
            Some(Err(problem)) => newest_below(fetched).ok_or(problem),
            None => newest_below(fetched).ok_or(Error::NotFound),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says it is.
    pub fn version(&self) -> Version {
        self.version
    }

    fn at(path: PathBuf) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Unusable { path: path.clone(), reason };
        let output = Command::new(&path).arg("--version").output().map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = Version::parse(&text).ok_or_else(|| unusable("it does not tell its version".to_owned()))?;
        if found < MINIMUM { Err(Error::TooOld { path, found }) } else { Ok(Self { path, version: found }) }
    }
}

fn newest_below(folder: &Path) -> Option<Binary> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let candidates = entries.map(|entry| entry.path().join(NAME)).filter(|file| file.is_file());
    candidates.filter_map(|file| Binary::at(file).ok()).max_by_key(Binary::version)
}

impl Version {
    /// Reads the answer to `nats-server --version`, such as `nats-server: v2.15.1`.
    fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim().strip_prefix("nats-server: v")?;
        let mut parts = numbers.split(['.', '-', '+']).map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script_that_says(folder: &Path, words: &str) -> PathBuf {
        let path = folder.join(NAME);
        fs::write(&path, format!("#!/bin/sh\necho '{words}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_given_binary_that_is_too_old_is_refused_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = script_that_says(folder.path(), "nats-server: v2.9.25");
        let problem = Binary::find(Some(&path), Path::new("/nowhere")).unwrap_err().to_string();
        assert_eq!(problem, format!("{} is nats-server 2.9.25, but 2.11.0 or newer is needed", path.display()));
    }

    #[test]
    fn a_given_binary_that_is_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = script_that_says(folder.path(), "hello");
        assert!(matches!(Binary::find(Some(&path), Path::new("/nowhere")), Err(Error::Unusable { .. })));
    }

    #[test]
    fn a_given_binary_of_a_pre_release_counts_as_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let path = script_that_says(folder.path(), "nats-server: v2.16.0-RC.1");
        let binary = Binary::find(Some(&path), Path::new("/nowhere")).unwrap();
        assert_eq!(binary.version().to_string(), "2.16.0");
    }

    #[test]
    fn the_script_that_fetches_has_the_same_minimum() {
        let script = include_str!("../../../scripts/nats-server");
        assert!(script.contains(&format!("minimum={}.{}\n", MINIMUM.major, MINIMUM.minor)));
    }
}
