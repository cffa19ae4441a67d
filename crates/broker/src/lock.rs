use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::Error;

/// How long to wait for a store that another holds: its holder may be on its way out.
const PATIENCE: Duration = Duration::from_secs(3);

/// The right to open a store. nats-server itself does not notice a second one on the same files and would spoil them.
///
/// The lock belongs to the open file, not to a process, and every server gets that file as its standard input: so the store stays locked
/// as long as a server has it open, even if whoever started the server is gone.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Makes the folder, which only its owner may read, and locks it in the name of the process `holder`. `wait` is called between
    /// tries and says whether to go on.
    pub fn take(store: &Path, holder: u32, wait: &mut dyn FnMut() -> bool) -> Result<Self, Error> {
        let unusable = |source: io::Error| Error::Store { store: store.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(store).map_err(unusable)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(store.join("lock")).map_err(unusable)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
                Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => return Err(in_use(store, &mut file)),
                Err(TryLockError::WouldBlock) if !wait() => return Err(Error::Stopped),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        note(&mut file, holder).map_err(unusable)?;
        Ok(Self { file })
    }

    /// The lock as the standard input of a process that shall hold it, too.
    pub(crate) fn share(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }
}

fn note(file: &mut File, holder: u32) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{holder}")
}

fn in_use(store: &Path, file: &mut File) -> Error {
    let mut holder = String::new();
    let known = file.take(16).read_to_string(&mut holder).is_ok_and(|length| length > 0);
    Error::InUse { store: store.to_owned(), holder: if known { holder } else { "unknown".to_owned() } }
}
