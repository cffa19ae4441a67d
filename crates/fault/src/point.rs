use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Declares the points once: the variant, its name, and where that is.
macro_rules! points {
    ($($(#[doc = $place:literal])+ $variant:ident = $name:literal,)+) => {
        /// A place in the code at which a process can die, or a simulation drop what it runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[doc = $place])+ $variant,)+
        }

        impl Point {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

points! {
    /// A delivery has come to its lane, and no transaction has begun.
    LaneReceived = "lane-received",
    /// All is written in the transaction, and nothing committed.
    BeforeCommit = "before-commit",
    /// Committed, and nobody knows.
    AfterCommit = "after-commit",
    /// An event was given to the broker's client, and nobody knows whether it arrives.
    RelaySent = "relay-sent",
    /// The broker has an event, which is not marked yet.
    RelayAcknowledged = "relay-acknowledged",
    /// Left-overs were found, and none of them is on its way.
    RelayLeftOver = "relay-left-over",
    /// What a message set off is committed, its sender answered, and the message not acknowledged.
    BeforeAcknowledgement = "before-acknowledgement",
    /// The acknowledgement was written, and the broker may not have read it.
    AfterAcknowledgement = "after-acknowledgement",
    /// What failed for good is parked, and nobody knows.
    Parked = "parked",
    /// The gateway has stored a command in its queue, and not answered.
    GatewayQueued = "gateway-queued",
    /// A page of an owner's log was read, and nothing of it applied.
    HealerRead = "healer-read",
    /// An audit has read a page of heads, and noted nothing.
    AuditRead = "audit-read",
    /// An audit has noted what was missing, and not stored how far it came.
    AuditNoted = "audit-noted",
    /// An effect was leased, and nothing done.
    EffectLeased = "effect-leased",
    /// An effect was done, and its answer not taken in.
    EffectPerformed = "effect-performed",
    /// A timer was taken, and not brought.
    TimerTaken = "timer-taken",
    /// A migration has changed some tables, and not others.
    Migrating = "migrating",
    /// The process was told to stop, takes no more calls, and has not finished what it began.
    Draining = "draining",
}

/// Decides whether whoever has come to a point dies there. Returned when the interception ends.
pub struct Interceptor(());

type Intercept = Box<dyn FnMut(Point) -> bool>;

thread_local! {
    static INTERCEPT: RefCell<Option<Intercept>> = const { RefCell::new(None) };
}

impl Interceptor {
    /// From now on, on this thread, `dies` is asked at each point. Who dies never goes on: whoever polls it drops it.
    #[must_use]
    pub fn new(dies: impl FnMut(Point) -> bool + 'static) -> Self {
        INTERCEPT.set(Some(Box::new(dies)));
        Self(())
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        INTERCEPT.set(None);
    }
}

impl std::fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interceptor")
    }
}

/// Marks a point. A process that was told to dies here, as by `kill -9`: no destructor runs, nothing is flushed.
pub async fn reach(point: Point) {
    if cfg!(debug_assertions) {
        let dies = INTERCEPT.with_borrow_mut(|intercept| intercept.as_mut().is_some_and(|dies| dies(point)));
        if dies {
            std::future::pending::<()>().await;
        }
        process().reach(point);
    }
}

/// What this process was told by its environment.
#[derive(Default)]
struct Process {
    dies_at: Option<(Point, u32)>,
    hits: AtomicU32,
    points_to: Option<File>,
}

fn process() -> &'static Process {
    static PROCESS: OnceLock<Process> = OnceLock::new();
    PROCESS.get_or_init(|| Process {
        dies_at: std::env::var(crate::KILL_AT).ok().map(|at| parse(&at)),
        hits: AtomicU32::new(0),
        points_to: std::env::var(crate::POINTS_TO).ok().map(|path| open(&path)),
    })
}

/// Where this process is to die, as its environment says it.
pub(crate) fn dies_at() -> Option<String> {
    process().dies_at.map(|(point, nth)| format!("dies at {}:{nth}", point.name()))
}

impl Process {
    fn reach(&self, point: Point) {
        if let Some(mut file) = self.points_to.as_ref() {
            // One write, so that what several processes append is not mixed up.
            let _ = file.write_all(format!("{}\n", point.name()).as_bytes());
        }
        if let Some((_, nth)) = self.dies_at.filter(|(at, _)| *at == point)
            && self.hits.fetch_add(1, Ordering::Relaxed) + 1 == nth
        {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[expect(clippy::panic, reason = "a test that meant to kill a process, and did not, would say that all is well")]
fn parse(at: &str) -> (Point, u32) {
    let parts = at.split_once(':').and_then(|(name, nth)| {
        let point = Point::ALL.iter().find(|point| point.name() == name)?;
        Some((*point, nth.parse().ok().filter(|nth| *nth > 0)?))
    });
    parts.unwrap_or_else(|| panic!("{} is {at}, which is no <point>:<time>", crate::KILL_AT))
}

#[expect(clippy::panic, reason = "a run that is to count points, and does not, would count none")]
fn open(path: &str) -> File {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("{}: {path}: {error}", crate::POINTS_TO))
}
