use std::sync::OnceLock;

/// Declares the protections once: the variant, its name, and what it prevents.
macro_rules! protections {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal,)+) => {
        /// One of the rules that keep a promise. Each can be switched off, to see that a test notices.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Protection {
            $($(#[doc = $what])+ $variant,)+
        }

        impl Protection {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it is, in a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($what),+),)+
                }
            }
        }
    };
}

protections! {
    /// A command that has ended is answered from its receipt.
    Receipt = "receipt",
    /// Another request under a key that was used is refused.
    Fingerprint = "fingerprint",
    /// An aggregate is changed only under the lock on its head.
    HeadLock = "head-lock",
    /// A revision is applied only under the lock on its cursor.
    CursorLock = "cursor-lock",
    /// What was begun is not withdrawn, and what was answered, fired or replaced is not taken in again.
    Fence = "fence",
    /// State, events, receipt, cursor and effects are committed together.
    OneTransaction = "one-transaction",
    /// A message is acknowledged after the commit of what it set off.
    AcknowledgeAfterCommit = "acknowledge-after-commit",
    /// A command that is refused after it wrote is rolled back.
    RejectionLeavesNoTrace = "rejection-leaves-no-trace",
    /// A revision that is missing is waited for, and read from its owner's log.
    GapHealing = "gap-healing",
    /// Later events of a key that waits or is parked wait behind it.
    OrderAfterParking = "order-after-parking",
    /// Cursors are compared with the heads of their owners' logs.
    Audit = "audit",
    /// What was committed and not published is published by whoever finds it.
    PublishingOfLeftovers = "publishing-of-leftovers",
    /// An event is applied only if its past is what was applied.
    ForkCheck = "fork-check",
    /// Events of a log that is not followed are dropped.
    LogId = "log-id",
    /// A log that was restored does nothing before its epoch is raised, and what it lost is given up.
    Epoch = "epoch",
    /// Only the version of the code that owns a subscription does its work.
    SubscriptionVersion = "subscription-version",
    /// How far an audit has come is stored once all before it is noted.
    AuditedPositionLast = "audited-position-last",
    /// A deadline does not fire before what was pending has been read.
    DeadlineHold = "deadline-hold",
    /// An effect that was begun is asked for before it is done again.
    AskFirst = "ask-first",
    /// A call that the world has not seen may still be on its way: it is made again, under the same reference.
    NotFoundIsNoOutcome = "not-found-is-no-outcome",
    /// A command or a query is taken only with a seal that verifies.
    Seal = "seal",
    /// What comes from a session that has ended is refused.
    SessionCheck = "session-check",
    /// A method that does not say who may call it is reachable from inside alone.
    DenyByDefault = "deny-by-default",
    /// Secrets and personal data are left out of what is printed.
    Redaction = "redaction",
}

/// Whether this process runs without a protection. Always false in a release.
pub fn without(protection: Protection) -> bool {
    cfg!(debug_assertions) && switched_off().contains(&protection)
}

/// What this process was told to do wrong; none in a release, and none if nobody has asked. Whoever starts says it aloud: a promise that is
/// switched off by a forgotten variable would not be missed.
pub fn told() -> Option<String> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let without = switched_off().iter().map(|protection| format!("without {}", protection.name()));
    let told: Vec<_> = without.chain(crate::point::dies_at()).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn switched_off() -> &'static [Protection] {
    static SWITCHED_OFF: OnceLock<Vec<Protection>> = OnceLock::new();
    SWITCHED_OFF.get_or_init(|| {
        let names = std::env::var(crate::WITHOUT).unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(named).collect()
    })
}

#[expect(clippy::panic, reason = "a test that meant to switch something off, and did not, would say that all is well")]
fn named(name: &str) -> Protection {
    let found = Protection::ALL.iter().find(|one| one.name() == name);
    *found.unwrap_or_else(|| panic!("{} names {name}, which is no protection", crate::WITHOUT))
}
