use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError},
};

use broker::{Binary, Lock, Server, Settings, tick};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::folder;

/// Where `scripts/nats-server` puts what it fetches.
const FETCHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools");

/// A real nats-server with JetStream and a store of its own. It is killed, and its store deleted, when the value goes.
///
/// It can be taken away and brought back while clients hold its address: the port stays the same.
pub struct NatsServer {
    command: Vec<OsString>,
    settings: Settings,
    // Shared, so that a start that was not waited for to its end leaves no server behind.
    running: Arc<Mutex<Option<Server>>>,
    port: u16,
    _folder: TempDir,
}

impl NatsServer {
    /// Starts one on a free port. Panics with one sentence if there is no usable executable.
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// The same, with more arguments for the executable.
    pub(crate) async fn start_with(arguments: Vec<OsString>) -> Self {
        let folder = folder();
        let store = folder.path().join("nats");
        let settings = Settings { store, port: None, max_payload: 1 << 20, sync_interval: None };
        let running = Arc::default();
        let mut command = vec![executable().into_os_string()];
        command.extend(arguments);
        let port = launch(command.clone(), settings.clone(), &running).await;
        Self { command, settings: Settings { port: Some(port), ..settings }, running, port, _folder: folder }
    }

    /// What a NATS client connects to. It stays the same.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its store, with its streams and its log.
    pub fn store(&self) -> &Path {
        &self.settings.store
    }

    /// Lets it finish, as an orderly shutdown does.
    pub async fn stop(&self) {
        if let Some(server) = self.take() {
            spawn_blocking(|| server.stop()).await.expect("stopping nats-server does not panic");
        }
    }

    /// Kills it, as a crash does.
    pub fn kill(&self) {
        if let Some(server) = self.take() {
            server.kill();
        }
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Server::pid)
    }

    /// Starts it again on the same port and store; stops it first if it runs.
    pub async fn restart(&self) {
        self.stop().await;
        launch(self.command.clone(), self.settings.clone(), &self.running).await;
    }

    /// Kills it, and deletes its streams, as the loss of a disk does. [`NatsServer::restart`] brings it back empty.
    pub fn wipe(&self) {
        self.kill();
        match fs::remove_dir_all(self.settings.store.join("jetstream")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("the store cannot be wiped: {error}"),
            _ => {}
        }
    }

    /// Kills it, and copies its streams to a folder, as a backup does. [`NatsServer::restart`] brings it back.
    pub fn save(&self, copy: &Path) {
        self.kill();
        copy_folder(&self.settings.store.join("jetstream"), copy).expect("the store can be copied");
    }

    /// Kills it, and gives it the streams of a [saved](NatsServer::save) copy, its own or another server's.
    pub fn replace(&self, copy: &Path) {
        self.wipe();
        copy_folder(copy, &self.settings.store.join("jetstream")).expect("the store can be replaced");
    }

    fn take(&self) -> Option<Server> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NatsServer").field(&self.url()).finish()
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

async fn launch(command: Vec<OsString>, settings: Settings, running: &Arc<Mutex<Option<Server>>>) -> u16 {
    let running = Arc::clone(running);
    let started = spawn_blocking(move || {
        let lock = Lock::take(&settings.store, process::id(), &mut tick)?;
        let server = Server::start(&command, &settings, &lock, &mut tick)?;
        let port = server.port();
        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok::<_, broker::Error>(port)
    });
    started.await.expect("starting nats-server does not panic").unwrap_or_else(|problem| panic!("{problem}"))
}

fn executable() -> PathBuf {
    let given = env::var_os("MILLRACE_NATS_SERVER").map(PathBuf::from);
    match Binary::find(given.as_deref(), Path::new(FETCHED)) {
        Ok(binary) => binary.path().to_owned(),
        Err(problem) => panic!("{problem}"),
    }
}
