//! Each target's short run. `make fuzz` is the long one.

#![cfg(test)]

use millrace_fuzz::{TARGETS, short, target};

/// The same each time; another one may find more.
const SEED: u64 = 4;

fn run(name: &str) {
    let seed = std::env::var("MILLRACE_FUZZ_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    short::run(target(name).unwrap(), seed);
}

#[test]
fn a_name_has_one_text_and_is_a_token_of_subjects() {
    run("names");
}

#[test]
fn an_event_from_the_broker_goes_on_as_it_came() {
    run("envelopes");
}

#[test]
fn an_event_from_a_log_goes_on_as_it_came() {
    run("records");
}

#[test]
fn a_consistency_token_is_bounded_and_read_as_it_was_written() {
    run("consistency_tokens");
}

#[test]
fn a_place_in_a_list_has_one_token() {
    run("page_tokens");
}

#[test]
fn only_the_tokens_of_a_session_are_taken_for_them() {
    run("refresh_tokens");
}

#[test]
fn only_an_access_token_that_was_issued_is_good() {
    run("access_tokens");
}

#[test]
fn only_a_seal_that_was_made_is_good() {
    run("seals");
}

#[test]
fn a_key_is_kept_and_shows_itself_to_nobody() {
    run("keys");
}

#[test]
fn what_the_gateway_reads_in_a_request_is_what_its_owner_reads() {
    run("requests");
}

#[test]
fn what_an_owner_says_by_accident_reaches_no_client() {
    run("refusals");
}

#[test]
fn whatever_is_called_is_answered_with_a_reason_and_only_sealed_calls_come_through() {
    run("calls");
}

#[test]
fn every_target_has_a_short_run() {
    let here = include_str!("short.rs");
    for target in TARGETS {
        assert!(here.contains(&format!("run(\"{}\")", target.name)), "{} has none", target.name);
    }
}
