use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

use millrace::Role;
use rustix::process::{Pid, Signal, kill_process};
use testkit::{NatsServer, within};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{Balancer, Database, Processes, channel, free_address, serves, total};

/// What is under way when a service is told to stop may take so long.
const DRAIN: Duration = Duration::from_secs(20);

/// For a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Several instances of each service on Postgres, each kind behind one address, and two gateways. They end with the value.
#[derive(Debug)]
pub struct Fleet {
    /// What its instances are started with and have said. None of them runs in here.
    pub processes: Processes,
    instances: BTreeMap<Role, Vec<Instance>>,
    balancers: BTreeMap<Role, Balancer>,
    /// Its own broker; one of several nodes is its test's.
    nats: Option<NatsServer>,
}

#[derive(Debug)]
struct Instance {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Fleet {
    /// So many instances of each service, which start at the same time on empty databases.
    pub async fn start(each: usize) -> Self {
        let nats = NatsServer::start().await;
        let mut this = Self::gateways_at(nats.url(), &[]).await;
        this.nats = Some(nats);
        for _ in 0..each {
            this.add_to_all().await;
        }
        this
    }

    /// Two gateways and no service yet, at a broker. All that is started has these variables.
    pub async fn gateways_at(nats_url: String, variables: &[(&str, String)]) -> Self {
        let mut processes = Processes::prepare(Database::Postgres, nats_url).await;
        processes.set(variables);
        let mut balancers = BTreeMap::new();
        for role in Role::services() {
            balancers.insert(role, Balancer::at(processes.address(role)).await);
        }
        let mut this = Self { processes, instances: BTreeMap::new(), balancers, nats: None };
        this.spawn(Role::Gateway, &[]);
        this.spawn(Role::Gateway, &[]);
        this
    }

    /// A connection to each gateway.
    pub fn gateways(&self) -> [Channel; 2] {
        [0, 1].map(|number| channel(self.instances[&Role::Gateway][number].address))
    }

    /// What is started from now on has this variable, too.
    pub fn set(&mut self, name: &str, value: &str) {
        self.processes.set(&[(name, value.to_owned())]);
    }

    /// One more of each service.
    pub async fn add_to_all(&mut self) {
        let added: Vec<_> = Role::services().map(|role| (role, self.spawn(role, &[]))).collect();
        for (role, address) in added {
            self.admit(role, address).await;
        }
    }

    /// One more instance, with variables of its own. It is called once it serves.
    pub async fn add(&mut self, role: Role, more: &[(&str, String)]) {
        let address = self.spawn(role, more);
        self.admit(role, address).await;
    }

    /// Tells the oldest instance to stop, and sees that it has finished what it began within its deadline.
    pub async fn retire_oldest(&mut self, role: Role) {
        let mut oldest = self.instances.get_mut(&role).unwrap().remove(0);
        if let Some(balancer) = self.balancers.get(&role) {
            balancer.remove(oldest.address);
        }
        let told = Instant::now();
        kill_process(Pid::from_child(&oldest.child), Signal::TERM).unwrap();
        within(DRAIN, "an instance that is told to stop ends", async || oldest.child.try_wait().unwrap().is_some())
            .await;
        let status = oldest.child.wait().unwrap();
        assert!(status.success(), "{role} ended with {status} after {:?}", told.elapsed());
        assert!(!self.processes.said(role, "not everything was finished in time"), "{role} left work behind");
    }

    /// Tells the first gateway to stop, and starts it again where clients know it.
    pub async fn restart_first_gateway(&mut self) {
        let address = self.instances[&Role::Gateway][0].address;
        self.retire_oldest(Role::Gateway).await;
        let metrics = free_address();
        let child = self.processes.spawn(Role::Gateway, address, &measured(metrics));
        self.instances.get_mut(&Role::Gateway).unwrap().insert(0, Instance { child, address, metrics });
        serves(&channel(address)).await;
    }

    /// Waits until each instance of a role has counted such things.
    pub async fn each_has(&self, role: Role, metric: &str, labels: &[&str]) {
        for (number, instance) in self.instances[&role].iter().enumerate() {
            within(PATIENCE, &format!("instance {number} of {role} has {metric} {labels:?}"), async || {
                total(instance.metrics, metric, labels).await > 0.0
            })
            .await;
        }
    }

    fn spawn(&mut self, role: Role, more: &[(&str, String)]) -> SocketAddr {
        let (address, metrics) = (free_address(), free_address());
        let variables = [&measured(metrics)[..], more].concat();
        let child = self.processes.spawn(role, address, &variables);
        self.instances.entry(role).or_default().push(Instance { child, address, metrics });
        address
    }

    async fn admit(&self, role: Role, address: SocketAddr) {
        serves(&channel(address)).await;
        self.balancers[&role].add(address);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for instance in self.instances.values_mut().flatten() {
            let _ = instance.child.kill();
            let _ = instance.child.wait();
        }
    }
}

fn measured(metrics: SocketAddr) -> [(&'static str, String); 1] {
    [("MILLRACE_METRICS_LISTEN", metrics.to_string())]
}
