use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event::Schema;
use ledger::operator::OPERATOR;
use millrace::Role;
use millrace::operator::{Operator, Service};
use millrace::settings::endpoint_variable;
use rustix::process::{Pid, Signal, kill_process};
use testkit::NatsCluster;
use tokio::task::JoinHandle;

use super::fault::{Edge, Seat};
use super::plan::SEATS;
use super::postgres::Postgres;
use super::proxy::{Mode, Proxy};
use crate::processes::master_key;
use crate::{Balancer, Processes, channel, free_address, serves};

/// Whatever ended by itself is started again after this time, as a cluster does.
const TURN: Duration = Duration::from_millis(300);

/// Two instances of each service and of the gateway, a broker of three nodes, a Postgres, and a proxy on each way between two of them.
#[derive(Debug)]
pub struct Shop {
    pub processes: Arc<Processes>,
    seats: Arc<Mutex<BTreeMap<Seat, Instance>>>,
    edges: BTreeMap<Edge, Vec<Proxy>>,
    pub cluster: NatsCluster,
    pub postgres: tokio::sync::Mutex<Postgres>,
    balancers: BTreeMap<Role, Balancer>,
    supervising: JoinHandle<()>,
    /// Instances that ended although nobody killed them.
    pub ended: Arc<Mutex<Vec<String>>>,
}

/// Names and values.
pub(super) type Variables = Vec<(String, String)>;

/// An instance, which runs unless it is meant to be dead.
#[derive(Debug)]
struct Instance {
    child: Option<Child>,
    address: SocketAddr,
    variables: Variables,
    /// More variables for as long as a fault lasts.
    shifted: Variables,
    dead: bool,
}

impl Shop {
    /// Starts all of it, and waits until it serves.
    pub async fn start(variables: &[(&str, String)]) -> Self {
        let cluster = NatsCluster::start().await;
        let databases: Vec<_> = Role::services().map(database_of).collect();
        let postgres = Postgres::start(&databases).await;
        let template = format!("postgres://postgres@127.0.0.1:{}/millrace_{{service}}", postgres.port());
        let mut processes = Processes::on(testkit::folder(), &template, cluster.url());
        processes.set(variables);
        // Whoever looks for what was wrong needs what the processes have said.
        processes.keep_folder();
        let mut balancers = BTreeMap::new();
        for role in Role::services() {
            balancers.insert(role, Balancer::at(processes.address(role)).await);
        }
        let seats: Vec<Seat> =
            Role::ALL.into_iter().flat_map(|role| (0..SEATS).map(move |number| (role, number))).collect();
        let addresses: BTreeMap<Seat, SocketAddr> = seats.iter().map(|seat| (*seat, free_address())).collect();
        let edges = edges(&processes, &cluster, postgres.port(), &addresses).await;
        let instance = |seat: Seat| Instance {
            child: None,
            address: addresses[&seat],
            variables: variables_of(seat, &edges),
            shifted: Vec::new(),
            dead: false,
        };
        for ((role, _), address) in &addresses {
            if let Some(balancer) = balancers.get(role) {
                balancer.add(*address);
            }
        }
        let seats = Arc::new(Mutex::new(seats.into_iter().map(|seat| (seat, instance(seat))).collect()));
        let (processes, ended) = (Arc::new(processes), Arc::<Mutex<Vec<String>>>::default());
        let supervising = tokio::spawn(supervise(Arc::clone(&processes), Arc::clone(&seats), Arc::clone(&ended)));
        for address in addresses.values() {
            serves(&channel(*address)).await;
        }
        let postgres = tokio::sync::Mutex::new(postgres);
        Self { processes, seats, edges, cluster, postgres, balancers, supervising, ended }
    }

    /// Where clients call a gateway.
    pub fn gateway(&self, number: usize) -> SocketAddr {
        self.edges[&Edge::Client(number)][0].address
    }

    /// Somebody who calls the services themselves, past all proxies.
    pub fn operator(&self) -> Operator {
        let service = |role: Role| {
            let key = master_key().owner(role.name()).pair(OPERATOR);
            (role, Service { address: format!("http://{}", self.processes.address(role)), key })
        };
        let services = Role::services().map(service).collect();
        Operator::new(Arc::new(Schema::embedded().unwrap()), services, None, "nemesis".to_owned()).unwrap()
    }

    /// The address of a service's database, past all proxies.
    pub fn database(&self, service: Role) -> String {
        self.processes.provider.replace("billing", service.name())
    }

    /// Kills an instance, which stays dead until it is [started](Self::revive). Whether it ran.
    pub fn kill(&self, seat: Seat) -> bool {
        let mut seats = self.seats.lock().unwrap();
        let instance = seats.get_mut(&seat).unwrap();
        instance.dead = true;
        instance.end()
    }

    /// From now on it runs, with these variables, too.
    pub fn revive(&self, seat: Seat, shifted: Variables) {
        let mut seats = self.seats.lock().unwrap();
        let instance = seats.get_mut(&seat).unwrap();
        instance.dead = false;
        instance.shifted = shifted;
    }

    /// Sends a signal to an instance. Whether it runs.
    pub fn signal(&self, seat: Seat, signal: Signal) -> bool {
        let seats = self.seats.lock().unwrap();
        seats[&seat].child.as_ref().is_some_and(|child| kill_process(Pid::from_child(child), signal).is_ok())
    }

    /// Waits until an instance serves.
    pub async fn serves(&self, seat: Seat) {
        let address = self.seats.lock().unwrap()[&seat].address;
        serves(&channel(address)).await;
    }

    /// Sets what passes these ways.
    pub fn set(&self, edges: &[Edge], mode: Mode) {
        self.proxies(edges).for_each(|proxy| proxy.set(mode));
    }

    /// How often these ways have not let something simply pass, ever.
    pub fn touched(&self, edges: &[Edge]) -> u64 {
        self.proxies(edges).map(Proxy::touched).sum()
    }

    fn proxies(&self, edges: &[Edge]) -> impl Iterator<Item = &Proxy> {
        edges.iter().flat_map(|edge| &self.edges[edge])
    }

    /// No instance is stopped, all ways are open.
    pub fn open_all(&self) {
        self.edges.values().flatten().for_each(|proxy| proxy.set(Mode::Pass));
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.supervising.abort();
        self.balancers.clear();
        for instance in self.seats.lock().unwrap().values_mut() {
            instance.dead = true;
            instance.end();
        }
    }
}

impl Instance {
    fn end(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        let _ = child.kill();
        let _ = child.wait();
        true
    }
}

pub(super) fn database_of(role: Role) -> String {
    format!("millrace_{role}")
}

/// Starts whatever is to run and does not.
async fn supervise(
    processes: Arc<Processes>,
    seats: Arc<Mutex<BTreeMap<Seat, Instance>>>,
    ended: Arc<Mutex<Vec<String>>>,
) {
    loop {
        for ((role, number), instance) in seats.lock().unwrap().iter_mut().filter(|(_, instance)| !instance.dead) {
            if let Some(status) = instance.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                ended.lock().unwrap().push(format!("{role}/{number} ended by itself: {status}"));
                instance.child = None;
            }
            if instance.child.is_none() {
                let variables = instance.variables.iter().chain(&instance.shifted);
                let variables: Vec<_> = variables.map(|(name, value)| (name.as_str(), value.clone())).collect();
                instance.child = Some(processes.spawn(*role, instance.address, &variables));
            }
        }
        tokio::time::sleep(TURN).await;
    }
}

async fn edges(
    processes: &Processes,
    cluster: &NatsCluster,
    postgres: u16,
    addresses: &BTreeMap<Seat, SocketAddr>,
) -> BTreeMap<Edge, Vec<Proxy>> {
    let mut edges = BTreeMap::new();
    for role in Role::services() {
        for edge in [Edge::Call(role), Edge::Peers(role)] {
            edges.insert(edge, vec![Proxy::to(processes.address(role)).await]);
        }
    }
    for (seat, address) in addresses {
        if seat.0 == Role::Gateway {
            edges.insert(Edge::Client(seat.1), vec![Proxy::to(*address).await]);
        } else {
            edges.insert(Edge::Database(*seat), vec![Proxy::to(([127, 0, 0, 1], postgres).into()).await]);
        }
        let mut nodes = Vec::new();
        for url in cluster.urls() {
            nodes.push(Proxy::to(url.trim_start_matches("nats://").parse().unwrap()).await);
        }
        edges.insert(Edge::Broker(*seat), nodes);
    }
    edges
}

/// An instance knows proxies alone.
fn variables_of(seat: Seat, edges: &BTreeMap<Edge, Vec<Proxy>>) -> Variables {
    let url = |proxy: &Proxy| format!("nats://{}", proxy.address);
    let nodes: Vec<_> = edges[&Edge::Broker(seat)].iter().map(url).collect();
    let mut variables = vec![("MILLRACE_NATS_URL".to_owned(), nodes.join(","))];
    if let Some([database]) = edges.get(&Edge::Database(seat)).map(Vec::as_slice) {
        let address = format!("postgres://postgres@{}/millrace_{{service}}", database.address);
        variables.push(("MILLRACE_DATABASE".to_owned(), address));
    }
    for role in Role::services() {
        let edge = if seat.0 == Role::Gateway { Edge::Call(role) } else { Edge::Peers(role) };
        variables.push((endpoint_variable(role.name()), format!("http://{}", edges[&edge][0].address)));
    }
    variables
}
