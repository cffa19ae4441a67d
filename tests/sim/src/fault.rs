//! What goes wrong, and how often it did.

/// Declares the faults once, with the words for them.
macro_rules! faults {
    ($($variant:ident = $words:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($variant,)+
        }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)+
                }
            }
        }
    };
}

faults! {
    PublicationLost = "a publication that never arrived",
    PublicationUnanswered = "a publication that arrived, and was not answered",
    AcknowledgementLost = "an acknowledgement that was lost",
    Duplicate = "a message that was brought twice at once",
    MessageLost = "a message that the broker lost",
    BrokerAway = "a broker that was away for a while",
    BrokerWiped = "a broker whose disk was wiped",
    BrokerRewound = "a broker whose disk was an older copy",
    ConsumersReset = "consumers that begin anew",
    CallLost = "a call that never arrived",
    AnswerLost = "an answer that was lost",
    Slow = "a way that took seconds",
    ProviderNotReached = "a provider that was not reached",
    ProviderUnanswered = "a provider that did it, and did not answer",
    ProviderLate = "a call that reached the provider after it was given up",
    Killed = "a service that was killed wherever it was",
    KilledAtPoint = "a service that was killed at one of its points",
    Stopped = "a service that was told to stop",
    ClockMoved = "a service whose clock was moved",
    TimeLeapt = "hours in which nobody did anything",
    DatabaseRestored = "a database that was restored to an older state",
}
