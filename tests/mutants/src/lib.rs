//! Which tests must notice that a protection is gone.

use std::fmt::Write as _;

pub use fault::{Protection, WITHOUT};

/// A test: the crate that has it, and its path there. What a macro makes of it, such as one for each database, is meant with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test(pub &'static str, pub &'static str);

const BILLING: &str = "millrace-billing";
const EVENT: &str = "millrace-event";
const IDENTITY: &str = "millrace-identity";
const LEDGER: &str = "millrace-ledger";
const MESSAGING: &str = "millrace-messaging";
const ORDER: &str = "millrace-order";
const SHOP: &str = "millrace-tests";

/// The tests that must fail without a protection: the quickest of those that do, one for each place at which it is kept.
pub const fn noticed_by(protection: Protection) -> &'static [Test] {
    match protection {
        Protection::Receipt => &[Test(LEDGER, "receipts::a_command_brought_again_gets_the_same_answer_byte_for_byte")],
        Protection::Fingerprint => {
            &[Test(LEDGER, "receipts::another_request_under_the_same_id_is_told_so_and_changes_nothing")]
        }
        Protection::HeadLock => &[Test(LEDGER, "interleavings::the_last_unit_is_sold_once")],
        Protection::CursorLock => &[Test(LEDGER, "interleavings::a_revision_is_applied_by_one")],
        Protection::Fence => &[
            Test(LEDGER, "effects::a_wish_is_withdrawn_only_before_it_is_begun"),
            Test(LEDGER, "effects::an_answer_is_taken_in_once"),
            Test(LEDGER, "timers::a_timer_that_was_replaced_fires_when_the_new_one_is_due"),
        ],
        Protection::OneTransaction => {
            &[Test(LEDGER, "atomicity::a_batch_dropped_at_any_await_leaves_all_or_nothing_and_is_completed_once")]
        }
        Protection::AcknowledgeAfterCommit => {
            &[Test(MESSAGING, "deliveries::a_command_that_is_under_way_is_not_acknowledged")]
        }
        Protection::RejectionLeavesNoTrace => {
            &[Test(LEDGER, "receipts::a_rejection_after_a_write_leaves_no_trace_but_its_receipt")]
        }
        Protection::GapHealing => &[Test(LEDGER, "events::reordered_events_are_applied_in_their_order")],
        Protection::OrderAfterParking => &[
            Test(LEDGER, "poison::a_parked_key_stays_where_it_is_even_before_an_event_that_nobody_handles"),
            Test(LEDGER, "poison::a_poison_event_that_is_repaired_in_time_is_applied_in_order"),
        ],
        Protection::Audit => &[Test(LEDGER, "audit::a_last_event_that_the_stream_has_lost_is_noted_and_read")],
        Protection::PublishingOfLeftovers => {
            &[Test(SHOP, "scenarios::stream::what_was_committed_and_not_published_is_published_by_the_next")]
        }
        Protection::ForkCheck => &[
            Test(LEDGER, "compare::a_forged_event_is_not_applied"),
            Test(LEDGER, "compare::what_acted_on_another_past_is_parked_and_listed"),
        ],
        Protection::LogId => &[Test(LEDGER, "audit::events_of_another_log_are_dropped")],
        Protection::Epoch => &[
            Test(LEDGER, "audit::a_log_that_lacks_what_was_read_of_it_does_nothing_until_its_epoch_is_raised"),
            Test(LEDGER, "compare::a_cursor_beyond_its_owners_log_is_found_when_the_epoch_is_raised"),
            Test(LEDGER, "compare::a_replica_that_followed_another_past_is_derived_anew"),
        ],
        Protection::SubscriptionVersion => &[Test(LEDGER, "compare::a_raised_version_takes_over_and_compares")],
        Protection::AuditedPositionLast => {
            &[Test(SHOP, "scenarios::stream::how_far_an_audit_came_is_stored_once_all_before_it_is_noted")]
        }
        Protection::DeadlineHold => &[Test(LEDGER, "timers::a_deadline_is_held_until_what_was_pending_has_been_read")],
        Protection::AskFirst => &[Test(LEDGER, "effects::after_a_crash_the_provider_is_asked_first")],
        Protection::NotFoundIsNoOutcome => {
            &[Test(BILLING, "payments::what_the_provider_never_heard_of_is_done_under_the_same_reference")]
        }
        Protection::Seal => &[Test(IDENTITY, "a_shortened_or_absent_mac_is_forged")],
        Protection::SessionCheck => &[Test(ORDER, "a_session_that_has_ended_places_no_order")],
        Protection::DenyByDefault => {
            &[Test(EVENT, "a_method_that_does_not_say_who_may_call_it_is_reachable_from_inside_alone")]
        }
        Protection::Redaction => &[
            Test(SHOP, "secrets::debug_leaves_secrets_and_personal_data_out"),
            Test(IDENTITY, "no_key_shows_when_it_is_printed"),
        ],
    }
}

/// The table as the page about the promises has it.
pub fn table() -> String {
    let mut table = "| protection | what it is | who notices that it is gone |\n|---|---|---|\n".to_owned();
    for protection in Protection::ALL {
        let names = noticed_by(*protection).iter().map(|test| format!("`{}`", test.name()));
        let names: Vec<_> = names.collect();
        // Writing to a text does not fail.
        let _ = writeln!(table, "| {} | {} | {} |", protection.name(), protection.what().trim(), names.join(", "));
    }
    table
}

impl Test {
    /// Its function.
    pub fn name(&self) -> &'static str {
        self.1.rsplit("::").next().unwrap_or(self.1)
    }

    /// What nextest calls it.
    pub fn filter(&self) -> String {
        format!("(package(={}) and test({}))", self.0, self.1)
    }
}
