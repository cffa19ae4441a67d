use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use identity::MasterKey;
use millrace::settings::endpoint_variable;
use millrace::{Role, keys};
use rustix::process::{Pid, Signal, kill_process};
use sea_orm::ConnectionTrait as _;
use testkit::{NatsServer, TempDir, eventually};
use tonic::transport::{Channel, Endpoint};

use crate::executable;

/// Where the services keep their data.
#[derive(Clone, Copy, Debug)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Each role as a process. They end with the value.
#[derive(Debug)]
pub struct Processes {
    running: BTreeMap<Role, Child>,
    /// A second gateway, if there is one.
    other: Option<(Child, SocketAddr)>,
    variables: BTreeMap<String, String>,
    addresses: BTreeMap<Role, SocketAddr>,
    /// Where the payment provider keeps its books.
    pub provider: String,
    nats: Option<NatsServer>,
    folder: TempDir,
}

impl Processes {
    /// One of each role, and a broker.
    pub async fn start(database: Database) -> Self {
        let nats = NatsServer::start().await;
        let mut this = Self::prepare(database, nats.url()).await;
        this.nats = Some(nats);
        for role in Role::ALL {
            this.run(role);
        }
        this
    }

    /// All that processes need; none runs yet.
    pub async fn prepare(database: Database, nats_url: String) -> Self {
        let folder = testkit::folder();
        let template = match database {
            Database::Sqlite => format!("sqlite://{}/{{service}}.db", folder.path().display()),
            Database::Postgres => postgres().await,
        };
        Self::on(folder, &template, nats_url)
    }

    /// The same, with databases whose addresses have `{service}` in the place of a name. What they say goes to files in the folder.
    pub fn on(folder: TempDir, databases: &str, nats_url: String) -> Self {
        let addresses: BTreeMap<_, _> = Role::ALL.into_iter().map(|role| (role, free_address())).collect();
        let provider =
            databases.replace("{service}", if databases.starts_with("sqlite:") { "provider" } else { "billing" });
        let mut variables: BTreeMap<String, String> = BTreeMap::from([
            ("MILLRACE_NATS_URL".to_owned(), nats_url),
            ("MILLRACE_DATABASE".to_owned(), databases.to_owned()),
            ("MILLRACE_LOG".to_owned(), "warn".to_owned()),
            ("MILLRACE_ANSWER_WAIT_MS".to_owned(), "500".to_owned()),
        ]);
        for line in keys::variables(&master_key(), &Role::ALL).lines() {
            let (name, value) = line.split_once('=').unwrap();
            variables.insert(name.to_owned(), value.to_owned());
        }
        for (role, address) in &addresses {
            variables.insert(endpoint_variable(role.name()), format!("http://{address}"));
        }
        Self { running: BTreeMap::new(), other: None, variables, addresses, provider, nats: None, folder }
    }

    /// A connection to the gateway.
    pub fn gateway(&self) -> Channel {
        channel(self.addresses[&Role::Gateway])
    }

    /// Runs a second gateway, which shares nothing with the first but the broker and the services.
    pub fn add_gateway(&mut self) -> Channel {
        let address = free_address();
        self.other = Some((self.spawn(Role::Gateway, address, &[]), address));
        channel(address)
    }

    /// Kills the second gateway at once, for good.
    pub fn kill_other_gateway(&mut self) {
        let (mut child, _) = self.other.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills a role's process at once, and leaves it dead until it is [started](Self::start_again).
    pub async fn kill_for_now(&mut self, role: Role) {
        self.end(role, Signal::KILL).await;
    }

    /// Starts a role again that was [killed for now](Self::kill_for_now).
    pub fn start_again(&mut self, role: Role) {
        self.run(role);
    }

    /// Kills a role's process at once, and starts it again.
    pub async fn kill(&mut self, role: Role) {
        self.end(role, Signal::KILL).await;
        self.run(role);
    }

    /// Tells a role's process to stop, waits until it has, and starts it again.
    pub async fn terminate(&mut self, role: Role) {
        self.end(role, Signal::TERM).await;
        self.run(role);
    }

    /// Kills nats-server at once, and starts it again on the same store.
    pub async fn kill_broker(&self) {
        let nats = self.nats.as_ref().unwrap();
        nats.kill();
        nats.restart().await;
    }

    async fn end(&mut self, role: Role, signal: Signal) {
        let mut child = self.running.remove(&role).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        eventually("the process ends", async || child.try_wait().unwrap().is_some()).await;
    }

    fn run(&mut self, role: Role) {
        let child = self.spawn(role, self.addresses[&role], &[]);
        self.running.insert(role, child);
    }

    /// What is started from now on has these variables, too.
    pub fn set(&mut self, variables: &[(&str, String)]) {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }

    /// Where the others call this role.
    pub fn address(&self, role: Role) -> SocketAddr {
        self.addresses[&role]
    }

    /// Starts a process, with more variables than all have.
    pub fn spawn(&self, role: Role, address: SocketAddr, more: &[(&str, String)]) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{role}.log")))
            .unwrap();
        Command::new(executable())
            .args(["run", role.name(), "--listen", &format!("{role}={address}")])
            .env_clear()
            .envs(&self.variables)
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Where their logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder stays when the value goes.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Whether any instance of a role has logged this.
    pub fn said(&self, role: Role, words: &str) -> bool {
        self.log(role).contains(words)
    }

    /// What the processes have said, for the report of a failure.
    pub fn logs(&self) -> String {
        Role::ALL.map(|role| format!("--- {role}\n{}", tail(&self.log(role)))).join("\n")
    }

    fn log(&self, role: Role) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{role}.log"))).unwrap_or_default()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let other = self.other.iter_mut().map(|(child, _)| child);
        for child in self.running.values_mut().chain(other) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// A connection that is made when it is first used, and again whenever it has ended.
pub fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Of which all their keys are made.
pub(crate) fn master_key() -> MasterKey {
    "22".repeat(32).parse().unwrap()
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Below the ephemeral ports, so that no outgoing connection takes it while its process is down; and from a block of the test process's own,
/// so that no other test does.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let block = 12_000 + u16::try_from(std::process::id() % 100).unwrap() * PORTS;
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], block + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A port for each instance of each role, and one for its metrics; and as many again, for those that take their places.
const PORTS: u16 = 80;

/// A fresh database with a schema for each service.
async fn postgres() -> String {
    let url = testkit::Postgres::database().await;
    let database = ledger::connect(&url).await.unwrap();
    for role in Role::services() {
        database.execute_unprepared(&format!("create schema \"{role}\"")).await.unwrap();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={{service}}")
}
