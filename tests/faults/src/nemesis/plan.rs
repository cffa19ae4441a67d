use std::time::Duration;

use millrace::Role;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use super::fault::{Edge, Fault, Kind, Target};

/// Instances of each role.
pub const SEATS: usize = 2;

/// Nodes of the broker.
const NODES: usize = 3;

/// At most so many faults at once, each of another part.
const AT_ONCE: usize = 4;

/// Between two rounds, for what only shows when things go on.
pub(super) const BREATH: Duration = Duration::from_millis(1500);

/// What is done when: a pure function of the seed, the time and the kinds of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// The faults of a round begin together; the next round begins when all of them have healed.
    pub rounds: Vec<Vec<Fault>>,
}

impl Plan {
    /// First each kind once, in any order, then whatever comes, as long as the time allows.
    pub fn draw(seed: u64, time: Duration, kinds: &[Kind]) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut next: Vec<_> = kinds.to_vec();
        next.shuffle(&mut chance);
        let mut left = if kinds.is_empty() { Duration::ZERO } else { time };
        let mut rounds = Vec::new();
        while !next.is_empty() || !left.is_zero() {
            let round = draw_round(&mut chance, &mut next, kinds);
            let longest = round.iter().map(|fault| fault.lasts + fault.kind.heals_in()).max().unwrap_or_default();
            left = left.saturating_sub(longest + BREATH);
            rounds.push(round);
        }
        Self { seed, rounds }
    }

    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.rounds.iter().flatten()
    }
}

fn draw_round(chance: &mut StdRng, next: &mut Vec<Kind>, kinds: &[Kind]) -> Vec<Fault> {
    let wanted = chance.random_range(1..=AT_ONCE);
    let first = !next.is_empty();
    let mut round: Vec<Fault> = Vec::new();
    for _ in 0..wanted {
        let fits = |kind: &Kind| {
            let clashes = |other: &Fault| other.kind.part() == kind.part() || other.kind.is_alone() || kind.is_alone();
            !round.iter().any(clashes)
        };
        let kind = if first {
            next.iter().rposition(fits).map(|nth| next.remove(nth))
        } else {
            let fitting: Vec<_> = kinds.iter().copied().filter(fits).collect();
            fitting.choose_weighted(chance, |kind| kind.weight()).ok().copied()
        };
        let Some(kind) = kind else { break };
        round.push(draw_fault(chance, kind, first));
    }
    round
}

fn draw_fault(chance: &mut StdRng, kind: Kind, first: bool) -> Fault {
    let [from, to] = kind.lasts();
    let lasts = Duration::from_millis(chance.random_range(from..=to));
    let service = |chance: &mut StdRng| *Role::services().collect::<Vec<_>>().choose(chance).unwrap();
    let role = |chance: &mut StdRng| *Role::ALL.choose(chance).unwrap();
    let target = match kind {
        Kind::InstanceKilled | Kind::InstancePaused => Target::Seat((role(chance), chance.random_range(0..SEATS))),
        // A gateway has no database whose clock it could go by, so its own must be right.
        Kind::ClockShifted => Target::Seat((service(chance), chance.random_range(0..SEATS))),
        Kind::RoleKilled => Target::Role(role(chance)),
        Kind::DatabaseRestored => Target::Role(*[Role::Order, Role::Billing].choose(chance).unwrap()),
        Kind::NodeKilled | Kind::NodePaused => Target::Node(chance.random_range(0..NODES)),
        Kind::BrokerKilled
        | Kind::BrokerWiped
        | Kind::BrokerRewound
        | Kind::ConsumersDeleted
        | Kind::PostgresKilled
        | Kind::DiskFull => Target::Whole,
        Kind::Delayed
        | Kind::Cut
        | Kind::OneWay
        | Kind::RequestsOnly
        | Kind::AnswersOnly
        | Kind::Reset
        | Kind::Sliced => Target::Edges(if first { draw_busy_edges(chance) } else { draw_edges(chance) }),
    };
    Fault { kind, target, lasts }
}

/// Ways on which there is always something, so that no kind of fault meets nothing.
fn draw_busy_edges(chance: &mut StdRng) -> Vec<Edge> {
    let role = *[Role::Order, Role::Billing].choose(chance).unwrap();
    match chance.random_range(0..4) {
        0 => vec![Edge::Client(chance.random_range(0..SEATS))],
        1 => vec![Edge::Call(Role::Order)],
        2 => (0..SEATS).map(|number| Edge::Broker((role, number))).collect(),
        _ => (0..SEATS).map(|number| Edge::Database((role, number))).collect(),
    }
}

/// The ways of one instance, or of both.
fn draw_edges(chance: &mut StdRng) -> Vec<Edge> {
    let services: Vec<_> = Role::services().collect();
    let service = *services.choose(chance).unwrap();
    let role = *Role::ALL.choose(chance).unwrap();
    let first = chance.random_range(0..SEATS);
    let seats = if chance.random_bool(0.3) { 0..SEATS } else { first..first + 1 };
    match chance.random_range(0..5) {
        0 => seats.map(Edge::Client).collect(),
        1 => vec![Edge::Call(service)],
        2 => vec![Edge::Peers(service)],
        3 => seats.map(|number| Edge::Broker((role, number))).collect(),
        _ => seats.map(|number| Edge::Database((service, number))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan_and_another_seed_another() {
        let draw = |seed| Plan::draw(seed, Duration::from_mins(5), &Kind::ALL);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7).rounds, draw(8).rounds);
    }

    #[test]
    fn each_kind_is_there_however_short_the_time_is() {
        let plan = Plan::draw(3, Duration::ZERO, &Kind::ALL);
        for kind in Kind::ALL {
            assert!(plan.faults().any(|fault| fault.kind == kind), "{}", kind.name());
        }
        assert_eq!(plan.faults().count(), Kind::ALL.len());
    }

    #[test]
    fn no_part_is_hit_twice_at_once() {
        for round in Plan::draw(5, Duration::from_hours(1), &Kind::ALL).rounds {
            for (number, fault) in round.iter().enumerate() {
                let others = round.iter().skip(number + 1);
                assert!(others.clone().all(|other| other.kind.part() != fault.kind.part()), "{round:?}");
                assert!(!fault.kind.is_alone() || round.len() == 1, "{round:?}");
            }
        }
    }
}
