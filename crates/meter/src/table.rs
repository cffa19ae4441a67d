//! All metrics.

use crate::{Kind, Metric};

/// Name in code: kind, name outside, labels, help.
macro_rules! table {
    ($($metric:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $metric: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )+
        /// The table.
        pub const ALL: &[Metric] = &[$($metric),+];
    };
}

table! {
    COMMANDS: Counter "millrace_commands_total" ["method", "outcome"]
        "Commands that came to their lane, by what became of them: completed, rejected, failed or given_back.";
    COMMAND_SECONDS: Histogram "millrace_command_duration_seconds" ["method"]
        "The time from a command's coming to its lane to its end.";
    COMMANDS_DROPPED: Counter "millrace_commands_dropped_total" []
        "Commands of the queue that were dropped, because their seal is wrong or was never known here.";
    REPLICA_BEHIND: Counter "millrace_replica_behind_total" []
        "Calls that were told REPLICA_BEHIND: what their consistency token tells of did not come in time.";

    EVENTS: Counter "millrace_subscription_events_total" ["subscription", "outcome"]
        "Events that came to a subscription, by what became of them: applied, skipped, duplicate, noted, gap, given_back, or stranger (of another log, and dropped).";
    HEALED: Counter "millrace_subscription_healed_total" ["subscription"]
        "Events that were applied as read from their owner's log, because the stream did not bring them or their key had to wait.";
    LAG_SECONDS: Histogram "millrace_subscription_lag_seconds" ["subscription"]
        "The time from an event's happening to its being applied.";
    RETRIES: Counter "millrace_subscription_retries_total" ["subscription"]
        "Attempts at an event that failed for a reason of its own.";
    UNREADABLE: Counter "millrace_subscription_unreadable_total" ["subscription"]
        "Messages of a stream that were dropped, because they are no events.";
    KEYS: Gauge "millrace_subscription_keys" ["subscription", "state"]
        "Keys of a subscription that do not flow: waiting, comparing or parked.";
    PARKED: Gauge "millrace_parked" ["kind"]
        "What failed for good and waits for an operator: an event, an answer, a timer or a command.";
    AUDIT_ROUNDS: Counter "millrace_audit_rounds_total" ["subscription"]
        "Rounds in which all that an owner has was compared with what was heard of it.";
    AUDIT_NOTED: Counter "millrace_audit_noted_keys_total" ["subscription"]
        "Keys whose events an audit found not to have been heard of, or to differ.";
    AUDIT_DIVERGED: Counter "millrace_audit_diverged_keys_total" ["subscription"]
        "Keys that were parked, because their owner has another history of them, or less than was applied.";

    RELAY_PENDING: Gauge "millrace_relay_pending" []
        "Events that were committed and are not marked as published.";
    RELAY_OLDEST_SECONDS: Gauge "millrace_relay_oldest_age_seconds" []
        "The age of the oldest event that is not marked as published; 0 if there is none.";
    RELAY_PUBLISHED: Counter "millrace_relay_published_total" []
        "Events that the broker acknowledged.";
    RELAY_FAILURES: Counter "millrace_relay_failures_total" []
        "Attempts to publish an event that the broker did not acknowledge.";

    EFFECTS_OPEN: Gauge "millrace_effects_open" []
        "Effects that have no answer yet.";
    EFFECTS_OVERDUE_SECONDS: Gauge "millrace_effects_overdue_seconds" []
        "For how long the open effect that has waited longest has been due; 0 if none is.";
    TIMERS_OPEN: Gauge "millrace_timers_open" []
        "Timers that have not fired.";
    TIMERS_OVERDUE_SECONDS: Gauge "millrace_timers_overdue_seconds" []
        "For how long the timer that has waited longest has been due; 0 if none is.";

    CALLS: Counter "millrace_gateway_calls_total" ["method", "code"]
        "Calls that the gateway answered, by their gRPC code; of methods that do not exist, under _OTHER.";
    CALL_SECONDS: Histogram "millrace_gateway_call_duration_seconds" ["method"]
        "The time from a call's beginning to its answer's; of a stream, to its first headers.";
    FALLBACKS: Counter "millrace_gateway_fallbacks_total" []
        "Durable commands that were brought to their owner directly, because the broker did not take them.";
    RATE_LIMITED: Counter "millrace_gateway_rate_limited_total" ["by"]
        "Calls that were refused because too many come from one address or user, or too many attempts to log in.";
    ACCEPTED: Gauge "millrace_gateway_accepted_commands" []
        "Commands that were answered ACCEPTED and are looked after.";
    ACCEPTED_BYTES: Gauge "millrace_gateway_accepted_bytes" []
        "The bytes that commands which are looked after take, about.";

    RESIDENT_BYTES: Gauge "process_resident_memory_bytes" []
        "Resident memory.";
    START_SECONDS: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "each name once");
        for metric in ALL {
            let is_own = metric.name.starts_with("millrace_") || metric.name.starts_with("process_");
            assert!(is_own && metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
