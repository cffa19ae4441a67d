use std::time::Duration;

use millrace::Role;
use rustix::process::{Pid, Signal, kill_process};
use testkit::within;
use tokio::time::{Instant, sleep};

use super::fault::{Edge, Fault, Kind, Seat, Target};
use super::plan::SEATS;
use super::proxy::{Mode, Way};
use super::shop::{Shop, Variables, database_of};

/// How late things arrive.
const LATE: Duration = Duration::from_millis(150);

/// A disk stays full so much longer at most, until somebody has met it.
const FULL: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

/// An operator's call may meet a service that is just starting.
const PATIENCE: Duration = Duration::from_mins(2);

/// Whether a fault has met anything.
pub type Hit = bool;

/// The time in which a service's database went back to an earlier state, in milliseconds of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    pub service: Role,
    /// What was done before is in the copy.
    pub copied: u64,
    /// What is begun after it stays.
    pub restored: u64,
}

impl Shop {
    /// Does it, and heals it when its time is over.
    pub async fn suffer(&self, fault: &Fault, clock: impl Fn() -> u64 + Send) -> (Hit, Option<Rewind>) {
        let lasts = fault.lasts;
        let hit = match (&fault.target, fault.kind) {
            (Target::Seat(seat), Kind::InstanceKilled) => self.dead(&[*seat], lasts).await,
            (Target::Seat(seat), Kind::InstancePaused) => self.paused(*seat, lasts).await,
            (Target::Seat(seat), Kind::ClockShifted) => self.shifted(*seat, lasts).await,
            (Target::Role(role), Kind::DatabaseRestored) => {
                return (true, Some(self.restored(*role, lasts, clock).await));
            }
            (Target::Role(role), _) => self.dead(&[0, 1].map(|number| (*role, number)), lasts).await,
            (Target::Edges(edges), kind) => self.disturbed(edges, mode_of(kind, lasts), lasts).await,
            (Target::Node(node), kind) => self.node(*node, kind, lasts).await,
            (Target::Whole, Kind::PostgresKilled | Kind::DiskFull) => self.postgres(fault.kind, lasts).await,
            (Target::Whole, Kind::ConsumersDeleted) => self.consumers_deleted().await,
            (_, kind) => self.broker(kind, lasts).await,
        };
        (hit, None)
    }

    async fn dead(&self, seats: &[Seat], lasts: Duration) -> Hit {
        let ran = seats.iter().filter(|seat| self.kill(**seat)).count();
        sleep(lasts).await;
        for seat in seats {
            self.revive(*seat, Variables::new());
        }
        ran > 0
    }

    async fn paused(&self, seat: Seat, lasts: Duration) -> Hit {
        let ran = self.signal(seat, Signal::STOP);
        sleep(lasts).await;
        self.signal(seat, Signal::CONT);
        ran
    }

    async fn shifted(&self, seat: Seat, lasts: Duration) -> Hit {
        let library = std::env::var("MILLRACE_FAKETIME").unwrap();
        let offset = if seat.1 == 0 { "+1h" } else { "-1h" };
        let wrong = [("LD_PRELOAD", library.as_str()), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        self.kill(seat);
        self.revive(seat, wrong.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        self.serves(seat).await;
        sleep(lasts).await;
        let ran = self.kill(seat);
        self.revive(seat, Variables::new());
        ran
    }

    async fn disturbed(&self, edges: &[Edge], mode: Mode, lasts: Duration) -> Hit {
        let before = self.touched(edges);
        self.set(edges, mode);
        sleep(lasts).await;
        self.set(edges, Mode::Pass);
        self.touched(edges) > before
    }

    async fn node(&self, node: usize, kind: Kind, lasts: Duration) -> Hit {
        let pid = self.cluster.pid(node).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let Some(pid) = pid else { return false };
        if kind == Kind::NodePaused {
            let stopped = kill_process(pid, Signal::STOP).is_ok();
            sleep(lasts).await;
            let _ = kill_process(pid, Signal::CONT);
            return stopped;
        }
        self.cluster.kill(node);
        sleep(lasts).await;
        self.cluster.restart(node).await;
        true
    }

    async fn broker(&self, kind: Kind, lasts: Duration) -> Hit {
        match kind {
            Kind::BrokerWiped => self.cluster.wipe(),
            Kind::BrokerRewound => {
                let copy = testkit::folder();
                self.cluster.save(copy.path());
                self.cluster.restart_all().await;
                sleep(lasts).await;
                self.cluster.replace(copy.path());
            }
            _ => self.cluster.kill_all(),
        }
        sleep(lasts).await;
        self.cluster.restart_all().await;
        true
    }

    async fn postgres(&self, kind: Kind, lasts: Duration) -> Hit {
        let mut postgres = self.postgres.lock().await;
        if kind == Kind::DiskFull {
            let refusals = || postgres.log().matches("No space left on device").count();
            let before = refusals();
            postgres.fill();
            sleep(lasts).await;
            // Whoever writes little fills what is left late.
            let until = Instant::now() + FULL;
            while refusals() == before && Instant::now() < until {
                sleep(LOOK).await;
            }
            let met = refusals() > before;
            postgres.empty();
            postgres.restart().await;
            return met;
        }
        postgres.kill();
        sleep(lasts).await;
        postgres.restart().await;
        true
    }

    async fn consumers_deleted(&self) -> Hit {
        let nodes: Vec<async_nats::ServerAddr> = self.cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
        let client = async_nats::connect(nodes).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        super::consumers::delete_all(&jetstream).await > 0
    }

    /// As an operator does it: stop the service, put the copy in its database's place, start the service, raise its epoch.
    async fn restored(&self, role: Role, lasts: Duration, clock: impl Fn() -> u64 + Send) -> Rewind {
        let copied = clock();
        let copy = self.postgres.lock().await.copy(&database_of(role));
        sleep(lasts).await;
        let seats = (0..SEATS).map(|number| (role, number));
        for seat in seats.clone() {
            self.kill(seat);
        }
        self.postgres.lock().await.restore(&database_of(role), &copy);
        let restored = clock();
        for seat in seats {
            self.revive(seat, Variables::new());
        }
        let operator = self.operator();
        let mut before = None;
        within(PATIENCE, "the operator raises the epoch", async || {
            let Ok(standing) = operator.standing(role).await else { return false };
            // An answer may be lost: it is raised once, from what it was.
            let from = *before.get_or_insert(standing.epoch);
            operator.raise_epoch(role, from).await.is_ok()
        })
        .await;
        Rewind { service: role, copied, restored }
    }
}

/// By turns this or that direction, decided by what the plan has drawn.
fn mode_of(kind: Kind, lasts: Duration) -> Mode {
    let even = lasts.as_millis().is_multiple_of(2);
    match kind {
        Kind::Delayed => Mode::Delay(LATE),
        Kind::OneWay => Mode::HoldOne(if even { Way::Requests } else { Way::Answers }),
        Kind::RequestsOnly => Mode::Lose(Way::Answers),
        Kind::AnswersOnly => Mode::Lose(Way::Requests),
        Kind::Reset => Mode::Reset,
        Kind::Sliced => Mode::Slice,
        _ => Mode::Hold,
    }
}
