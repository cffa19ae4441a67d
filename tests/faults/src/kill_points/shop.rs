use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event::Schema;
use fault::Point;
use ledger::operator::OPERATOR;
use millrace::Role;
use millrace::operator::{Operator, Service};
use rustix::process::{Pid, Signal, kill_process};
use sea_orm::{DatabaseConnection, DbBackend, FromQueryResult, Statement};
use testkit::within;
use tonic::transport::Channel;

use super::Keep;
use super::plan::{Site, Story};
use crate::processes::master_key;
use crate::{Database, Processes};

/// How often it is looked whether somebody has died.
const LOOK: Duration = Duration::from_millis(10);
/// What is under way when a process is told to stop may take so long, on a slow machine.
const DRAIN: Duration = Duration::from_secs(40);

/// The processes of a story, in a namespace of their own. They end with the value.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) site: Site,
    processes: Processes,
    pub(super) nats_url: String,
    pub(super) namespace: String,
    running: Mutex<BTreeMap<Role, Child>>,
    victim: Mutex<Victim>,
    keep: Keep,
}

/// The role that dies.
#[derive(Debug)]
struct Victim {
    /// At which hit; never, if hits are counted.
    nth: Option<u32>,
    started: usize,
    deaths: usize,
}

impl Shop {
    /// One process of each role that the story needs, or begins with, on empty databases.
    pub(super) async fn open(nats_url: &str, site: Site, nth: Option<u32>, keep: Keep) -> Self {
        static SHOPS: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("shop-{}", SHOPS.fetch_add(1, Ordering::Relaxed));
        let mut processes = Processes::prepare(Database::Sqlite, nats_url.to_owned()).await;
        processes.set(&[("MILLRACE_NAMESPACE", namespace.clone())]);
        if site.story() == Story::Deadline {
            // In hours.
            processes.set(&[("MILLRACE_ORDER_DEADLINE", "0.0003".to_owned())]);
        }
        let victim = Mutex::new(Victim { nth, started: 0, deaths: 0 });
        let nats_url = nats_url.to_owned();
        let this = Self { site, processes, nats_url, namespace, running: Mutex::default(), victim, keep };
        for role in site.shop().iter().filter(|role| !(site.is_late() && **role == site.role)) {
            this.start(*role);
        }
        this
    }

    pub(super) fn gateway(&self) -> Channel {
        self.processes.gateway()
    }

    pub(super) fn provider(&self) -> &str {
        &self.processes.provider
    }

    /// The roles that there are, without the gateway.
    pub(super) fn services(&self) -> impl Iterator<Item = Role> + use<> {
        self.site.shop().iter().copied().filter(|role| *role != Role::Gateway)
    }

    /// Whether the process has died where it was to.
    pub(super) fn died(&self) -> bool {
        let before = usize::from(self.site.story().dies_before().is_some());
        self.victim.lock().unwrap().deaths > before
    }

    /// How often it came to which points.
    pub(super) fn hits(&self) -> BTreeMap<Point, u32> {
        let mut hits = BTreeMap::new();
        for line in std::fs::read_to_string(self.points()).unwrap_or_default().lines() {
            let point = Point::ALL.iter().find(|point| point.name() == line).unwrap();
            *hits.entry(*point).or_default() += 1;
        }
        hits
    }

    fn points(&self) -> PathBuf {
        self.processes.folder().join("points")
    }

    /// Starts a role that does not run.
    pub(super) fn start(&self, role: Role) {
        let fate = if role == self.site.role { self.fate() } else { None };
        let child = self.processes.spawn(role, self.processes.address(role), fate.as_slice());
        self.running.lock().unwrap().insert(role, child);
    }

    /// What the role's next process is told about its end.
    fn fate(&self) -> Option<(&'static str, String)> {
        let dies_at = |point: Point, nth| (fault::KILL_AT, format!("{}:{nth}", point.name()));
        let mut victim = self.victim.lock().unwrap();
        let process = victim.started;
        victim.started += 1;
        match process.cmp(&self.site.process()) {
            Less => self.site.story().dies_before().map(|point| dies_at(point, 1)),
            Equal => Some(match victim.nth {
                Some(nth) => dies_at(self.site.point, nth),
                None => (fault::POINTS_TO, self.points().display().to_string()),
            }),
            Greater => None,
        }
    }

    /// Starts whoever dies where it was told to; says it when anybody ends otherwise.
    pub(super) async fn watch(&self) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            let ended = self.running.lock().unwrap().iter_mut().find_map(|(role, child)| {
                let status = child.try_wait().unwrap()?;
                Some((*role, status))
            });
            let Some((role, status)) = ended else { continue };
            if !self.is_death(role, status) {
                return format!("{role} ended with {status}");
            }
            self.start(role);
        }
    }

    /// Whether a process has done what it was told. Then it is noted.
    fn is_death(&self, role: Role, status: ExitStatus) -> bool {
        let is_death = role == self.site.role && status.signal() == Some(Signal::KILL.as_raw());
        self.victim.lock().unwrap().deaths += usize::from(is_death);
        is_death
    }

    /// Tells a role to stop, and waits until it has, or has died of it.
    pub(super) async fn stop(&self, role: Role) {
        let mut child = loop {
            // It may have died just now, and is being started again.
            if let Some(child) = self.running.lock().unwrap().remove(&role) {
                break child;
            }
            tokio::time::sleep(LOOK).await;
        };
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let mut ended = None;
        within(DRAIN, "a process that is told to stop ends", async || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        let status = ended.unwrap();
        assert!(status.success() || self.is_death(role, status), "{role} was told to stop, and ended with {status}");
    }

    /// Kills a role at once that is nobody's victim, and starts it again.
    pub(super) fn kill(&self, role: Role) {
        let mut child = self.running.lock().unwrap().remove(&role).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.start(role);
    }

    /// Calls the services with an operator's seal.
    pub(super) fn operator(&self) -> Operator {
        let service = |role: Role| {
            let key = master_key().owner(role.name()).pair(OPERATOR);
            (role, Service { address: format!("http://{}", self.processes.address(role)), key })
        };
        let services = self.services().map(service).collect();
        Operator::new(Arc::new(Schema::embedded().unwrap()), services, None, "ana".to_owned()).unwrap()
    }

    /// A look into a service's database, beside the service.
    pub(super) async fn database(&self, role: Role) -> DatabaseConnection {
        let file = self.processes.folder().join(format!("{role}.db"));
        ledger::connect(&format!("sqlite://{}", file.display())).await.unwrap()
    }

    /// The rows of a statement on a service's database.
    pub(super) async fn query<R: FromQueryResult>(&self, role: Role, sql: &str) -> Vec<R> {
        let statement = Statement::from_string(DbBackend::Sqlite, sql);
        let rows = R::find_by_statement(statement).all(&self.database(role).await).await;
        rows.unwrap_or_else(|error| panic!("{role}: {sql}: {error}"))
    }

    pub(super) async fn count(&self, role: Role, sql: &str) -> i64 {
        #[derive(FromQueryResult)]
        struct Row {
            count: i64,
        }
        self.query::<Row>(role, &format!("select count(*) as count from {sql}")).await[0].count
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for child in self.running.get_mut().unwrap().values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() && self.keep == Keep::Folder {
            self.processes.keep_folder();
            eprintln!("--- the logs and databases of {} are in {}", self.site, self.processes.folder().display());
        }
    }
}
