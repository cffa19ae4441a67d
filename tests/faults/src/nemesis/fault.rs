use std::fmt;
use std::time::Duration;

use millrace::Role;

/// What can be done to a shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One instance is killed with -9, and started again later.
    InstanceKilled,
    /// The same with all instances of a role at once.
    RoleKilled,
    /// An instance is stopped as if its machine had stalled (SIGSTOP), and goes on as if nothing had been.
    InstancePaused,
    /// An instance runs with a clock that is an hour wrong.
    ClockShifted,
    /// What is sent arrives late.
    Delayed,
    /// Nothing arrives; what was sent meanwhile arrives afterwards.
    Cut,
    /// The same in one direction alone.
    OneWay,
    /// Requests arrive, and answers are lost for good.
    RequestsOnly,
    /// Answers arrive, and requests are lost for good.
    AnswersOnly,
    /// Connections break soon after they are made.
    Reset,
    /// What is sent arrives in tiny pieces.
    Sliced,
    /// A node of the broker is killed with -9.
    NodeKilled,
    /// A node of the broker is stopped, and goes on later.
    NodePaused,
    /// All nodes of the broker are killed with -9.
    BrokerKilled,
    /// All nodes of the broker lose their disks.
    BrokerWiped,
    /// All nodes of the broker get back an older copy of their disks.
    BrokerRewound,
    /// The consumers of all streams are deleted.
    ConsumersDeleted,
    /// Postgres is killed with -9, with all that it has begun.
    PostgresKilled,
    /// The disk of Postgres is full.
    DiskFull,
    /// A service's database is restored to an older copy, and an operator raises its epoch.
    DatabaseRestored,
}

/// What a fault is done to. No two faults are done to the same part at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Processes,
    Network,
    Broker,
    Databases,
}

/// One instance of a role, by its number.
pub type Seat = (Role, usize);

/// A way between two processes, each with a proxy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// From clients to a gateway.
    Client(usize),
    /// From both gateways to a service.
    Call(Role),
    /// From the services to one of them.
    Peers(Role),
    /// From an instance to the nodes of the broker.
    Broker(Seat),
    /// From an instance to Postgres.
    Database(Seat),
}

/// What exactly a fault is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Seat(Seat),
    Role(Role),
    Edges(Vec<Edge>),
    Node(usize),
    /// There is but one.
    Whole,
}

/// Something that is done to a shop for a while, and then healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub target: Target,
    pub lasts: Duration,
}

/// The name, how likely it is, how long it lasts at least and at most in milliseconds, and how long healing takes, more or less.
struct Traits(&'static str, u32, [u64; 2], u64);

impl Kind {
    pub const ALL: [Self; 20] = [
        Self::InstanceKilled,
        Self::RoleKilled,
        Self::InstancePaused,
        Self::ClockShifted,
        Self::Delayed,
        Self::Cut,
        Self::OneWay,
        Self::RequestsOnly,
        Self::AnswersOnly,
        Self::Reset,
        Self::Sliced,
        Self::NodeKilled,
        Self::NodePaused,
        Self::BrokerKilled,
        Self::BrokerWiped,
        Self::BrokerRewound,
        Self::ConsumersDeleted,
        Self::PostgresKilled,
        Self::DiskFull,
        Self::DatabaseRestored,
    ];

    const fn traits(self) -> Traits {
        match self {
            Self::InstanceKilled => Traits("instance-killed", 12, [100, 6000], 1000),
            Self::RoleKilled => Traits("role-killed", 6, [100, 5000], 1500),
            Self::InstancePaused => Traits("instance-paused", 10, [2000, 10_000], 0),
            Self::ClockShifted => Traits("clock-shifted", 4, [3000, 8000], 2000),
            Self::Delayed => Traits("delayed", 6, [2000, 8000], 0),
            Self::Cut => Traits("cut", 10, [1000, 9000], 0),
            Self::OneWay => Traits("one-way", 8, [1000, 9000], 0),
            Self::RequestsOnly => Traits("requests-only", 8, [1000, 6000], 0),
            Self::AnswersOnly => Traits("answers-only", 5, [1000, 6000], 0),
            Self::Reset => Traits("reset", 8, [1000, 5000], 0),
            Self::Sliced => Traits("sliced", 5, [1000, 4000], 0),
            Self::NodeKilled => Traits("node-killed", 8, [500, 5000], 3000),
            Self::NodePaused => Traits("node-paused", 5, [2000, 8000], 0),
            Self::BrokerKilled => Traits("broker-killed", 4, [100, 4000], 6000),
            Self::BrokerWiped => Traits("broker-wiped", 3, [100, 2000], 8000),
            Self::BrokerRewound => Traits("broker-rewound", 3, [2000, 8000], 15_000),
            Self::ConsumersDeleted => Traits("consumers-deleted", 4, [0, 1000], 1000),
            Self::PostgresKilled => Traits("postgres-killed", 5, [100, 3000], 3000),
            Self::DiskFull => Traits("disk-full", 3, [1000, 5000], 3000),
            Self::DatabaseRestored => Traits("database-restored", 2, [2000, 6000], 15_000),
        }
    }

    pub const fn name(self) -> &'static str {
        self.traits().0
    }

    pub(super) const fn weight(self) -> u32 {
        self.traits().1
    }

    /// In milliseconds, from and to.
    pub(super) const fn lasts(self) -> [u64; 2] {
        self.traits().2
    }

    pub(super) const fn heals_in(self) -> Duration {
        Duration::from_millis(self.traits().3)
    }

    pub(super) const fn part(self) -> Part {
        match self {
            Self::InstanceKilled | Self::RoleKilled | Self::InstancePaused | Self::ClockShifted => Part::Processes,
            Self::Delayed
            | Self::Cut
            | Self::OneWay
            | Self::RequestsOnly
            | Self::AnswersOnly
            | Self::Reset
            | Self::Sliced => Part::Network,
            Self::NodeKilled
            | Self::NodePaused
            | Self::BrokerKilled
            | Self::BrokerWiped
            | Self::BrokerRewound
            | Self::ConsumersDeleted => Part::Broker,
            Self::PostgresKilled | Self::DiskFull | Self::DatabaseRestored => Part::Databases,
        }
    }

    /// An operator restores a database while nothing else happens.
    pub(super) const fn is_alone(self) -> bool {
        matches!(self, Self::DatabaseRestored)
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(gateway) => write!(f, "clients to gateway/{gateway}"),
            Self::Call(role) => write!(f, "gateways to {role}"),
            Self::Peers(role) => write!(f, "services to {role}"),
            Self::Broker((role, number)) => write!(f, "{role}/{number} to the broker"),
            Self::Database((role, number)) => write!(f, "{role}/{number} to Postgres"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        match &self.target {
            Target::Seat((role, number)) => write!(f, " {role}/{number}")?,
            Target::Role(role) => write!(f, " {role}")?,
            Target::Node(number) => write!(f, " node {number}")?,
            Target::Whole => {}
            Target::Edges(edges) => {
                let edges: Vec<_> = edges.iter().map(Edge::to_string).collect();
                write!(f, " {}", edges.join(", "))?;
            }
        }
        write!(f, " for {:.1} s", self.lasts.as_secs_f64())
    }
}
