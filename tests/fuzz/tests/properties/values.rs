//! Moments, ids and the fingerprints of pasts.

use std::time::Duration;

use event::{History, Id, Micros};
use proptest::prelude::*;
use prost_types::Timestamp;

use crate::cases;

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_moment_is_read_back_from_its_timestamp_and_keeps_its_place(one: i64, other: i64) {
        let timestamps = [one, other].map(|moment| Timestamp::from(Micros(moment)));
        prop_assert_eq!(timestamps.map(Micros::try_from), [Ok(Micros(one)), Ok(Micros(other))]);
        let [a, b] = timestamps.map(|timestamp| (timestamp.seconds, timestamp.nanos));
        prop_assert_eq!(a.cmp(&b), one.cmp(&other));
    }

    #[test]
    fn a_timestamp_is_a_moment_or_is_refused(seconds: i64, nanos: i32) {
        if let Ok(moment) = Micros::try_from(Timestamp { seconds, nanos }) {
            let cut = Timestamp { seconds, nanos: nanos / 1000 * 1000 };
            prop_assert_eq!(Timestamp::from(moment), cut);
        }
    }

    #[test]
    fn what_lies_between_two_moments_is_never_negative_and_never_too_much(one: i64, other: i64) {
        let (one, other) = (Micros(one), Micros(other));
        let between = one.since(other);
        prop_assert_eq!(between.is_zero(), one <= other);
        prop_assert!(other.plus(between) <= one.max(other));
    }

    #[test]
    fn later_is_never_earlier(moment: i64, seconds: u64, nanos in 0..1_000_000_000_u32) {
        prop_assert!(Micros(moment).plus(Duration::new(seconds, nanos)) >= Micros(moment));
    }

    #[test]
    fn ids_are_in_the_order_of_their_times(times in any::<[u32; 2]>(), rests in any::<[[u8; 10]; 2]>()) {
        let [one, other] = [0, 1].map(|n| Id::timed(u64::from(times[n]) << 16, rests[n]));
        prop_assert_eq!(one.cmp(&other), (times[0], rests[0]).cmp(&(times[1], rests[1])));
    }

    /// Wherever two pasts part, they stay apart; and no two ways to cut the same bytes are one past.
    #[test]
    fn pasts_that_parted_never_meet_again(
        before in bytes(), one in bytes(), other in bytes(), after in prop::collection::vec(bytes(), 0..4),
    ) {
        prop_assume!(one != other);
        let begun = History::default().then("a.B", &before);
        let [mut one, mut other] = [one, other].map(|body| begun.then("a.B", &body));
        for body in &after {
            (one, other) = (one.then("a.B", body), other.then("a.B", body));
        }
        prop_assert_ne!(one, other);
        prop_assert_ne!(begun.then("a.Bc", &before), begun.then("a.B", &[b"c", before.as_slice()].concat()));
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..16)
}
