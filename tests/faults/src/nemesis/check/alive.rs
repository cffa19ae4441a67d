use std::collections::BTreeMap;

use super::{Asked, Evidence, Told, What};

/// Of a hundred commands so many have ended COMPLETED or REJECTED, or the run shows nothing.
const ENDED: usize = 95;

/// What is called at the end, at each gateway.
const CALLS: [Asked; 7] =
    [Asked::Register, Asked::AddCard, Asked::Place, Asked::PlaceAgain, Asked::PlaceOther, Asked::Read, Asked::Cancel];

/// After everything has healed, the last call of each kind at each gateway was answered, and at the first attempt.
pub(super) fn every_gateway_serves(evidence: &Evidence) -> Vec<String> {
    let mut last = BTreeMap::new();
    let after = evidence.history.iter().filter(|entry| entry.at >= evidence.healed && entry.what != What::Invoke);
    for entry in after {
        last.insert((entry.gateway, entry.asked), entry);
    }
    let calls = (0..2).flat_map(|gateway| CALLS.map(|asked| (gateway, asked)));
    let good = |call: &(usize, Asked)| last.get(call).is_some_and(|entry| entry.what == What::Ok);
    calls
        .filter(|call| !good(call))
        .map(|call| format!("gateway/{} and {:?}: {:?}", call.0, call.1, last.get(&call)))
        .collect()
}

/// Most commands ended as they should, and every kind of fault that was to happen met something.
pub(super) fn the_run_did_something(evidence: &Evidence) -> Vec<String> {
    let commands = evidence.commands();
    let ended = commands.values().filter(|command| matches!(command.ended(), Some(Told::Completed | Told::Rejected)));
    let (ended, all) = (ended.count(), commands.len());
    let mut nothing = Vec::new();
    if all == 0 || ended * 100 < all * ENDED {
        nothing.push(format!("of {all} commands {ended} ended COMPLETED or REJECTED"));
    }
    let missed = evidence.hits.iter().filter(|(_, (_, met))| *met == 0);
    nothing.extend(
        missed.map(|(kind, (planned, _))| format!("{} was to happen {planned} times and met nothing", kind.name())),
    );
    nothing
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{call, evidence};
    use super::super::{Entry, Kind};
    use super::*;

    fn everything_at(gateway: usize, at: u64, what: What) -> impl Iterator<Item = Entry> {
        CALLS.into_iter().map(move |asked| Entry { at, ..Entry::of(1, asked, what, gateway) })
    }

    #[test]
    fn a_gateway_that_does_not_serve_in_the_end_is_found() {
        let good = || everything_at(0, 9, What::Ok).chain(everything_at(1, 9, What::Ok));
        let healed = |history: Vec<Entry>| Evidence { healed: 5, ..evidence(history) };
        assert!(every_gateway_serves(&healed(good().collect())).is_empty());
        let bad = Entry { at: 10, ..Entry::of(1, Asked::Read, What::Info, 1) };
        assert_eq!(every_gateway_serves(&healed(good().chain([bad]).collect())).len(), 1);
        assert_eq!(every_gateway_serves(&healed(everything_at(0, 9, What::Ok).collect())).len(), CALLS.len());
    }

    #[test]
    fn what_was_answered_before_healing_shows_nothing() {
        let early = everything_at(0, 1, What::Ok).chain(everything_at(1, 1, What::Ok));
        let seen = Evidence { healed: 5, ..evidence(early) };
        assert_eq!(every_gateway_serves(&seen).len(), 2 * CALLS.len());
    }

    #[test]
    fn a_run_that_did_nothing_is_found() {
        assert_eq!(the_run_did_something(&evidence([])).len(), 1);
        let done = (0..94).map(|number| call(1, Asked::Place, &format!("{number}"), Told::Completed, "1"));
        let stuck = (94..100).map(|number| call(1, Asked::Place, &format!("{number}"), Told::Accepted, "1"));
        let mut seen = evidence(done.chain(stuck).flatten());
        assert_eq!(the_run_did_something(&seen).len(), 1);
        seen.history.extend(call(1, Asked::Place, "94", Told::Rejected, "1"));
        assert!(the_run_did_something(&seen).is_empty());
        seen.hits.insert(Kind::Cut, (3, 0));
        assert_eq!(the_run_did_something(&seen).len(), 1);
    }
}
