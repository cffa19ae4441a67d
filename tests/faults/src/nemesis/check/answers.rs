use super::{Asked, Evidence, What};

/// However often a key is sent, its first outcome is its only one, byte for byte.
pub(super) fn one_key_is_one_answer(evidence: &Evidence) -> Vec<String> {
    let commands = evidence.commands();
    let several = commands.iter().filter(|(_, command)| command.answers.len() > 1 && !evidence.is_exempt(command));
    several.map(|(key, command)| format!("{key} has several: {:?}", command.answers)).collect()
}

/// Other content under a used key is refused, and nothing else is.
pub(super) fn nothing_was_refused_that_should_not_be(evidence: &Evidence) -> Vec<String> {
    let commands = evidence.commands();
    let exempt = evidence.exempt_ids();
    let of_lost = |key: Option<&str>, about: Option<&str>| {
        let by_key = key.and_then(|key| commands.get(key)).is_some_and(|command| evidence.is_exempt(command));
        by_key || about.is_some_and(|about| exempt.contains(about))
    };
    let failed = evidence.history.iter().filter(|entry| entry.what == What::Fail);
    let wrong = failed.filter(|entry| !of_lost(entry.key.as_deref(), entry.about.as_deref()));
    wrong.map(|entry| format!("{entry:?}")).collect()
}

/// A read that brings the token of a receipt shows what the command did, or later.
pub(super) fn reads_see_what_their_token_tells_of(evidence: &Evidence) -> Vec<String> {
    let exempt = evidence.exempt_ids();
    let reads = evidence.history.iter().filter(|entry| entry.asked == Asked::Read);
    let stale = reads.filter(|entry| entry.revisions.is_some_and(|(wanted, seen)| seen < wanted));
    let wrong = stale.filter(|entry| !entry.about.as_ref().is_some_and(|order| exempt.contains(order)));
    wrong.map(|entry| format!("{entry:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{call, evidence, rewound};
    use super::super::{Entry, Role, Told};
    use super::*;

    #[test]
    fn a_key_with_two_answers_is_found() {
        let first = call(1, Asked::Place, "a", Told::Completed, "1");
        let mut again = call(9, Asked::PlaceAgain, "a", Told::Completed, "1");
        let seen = evidence([first.clone(), again.clone()].concat());
        assert!(one_key_is_one_answer(&seen).is_empty());
        again[1].answer = Some("other bytes".to_owned());
        let mut seen = evidence([first, again].concat());
        assert_eq!(one_key_is_one_answer(&seen).len(), 1);
        seen.rewinds = rewound(Role::Order, 1, 5);
        assert!(one_key_is_one_answer(&seen).is_empty());
    }

    #[test]
    fn a_refusal_is_found_unless_what_it_is_about_may_be_lost() {
        let placed = call(1, Asked::Place, "a", Told::Completed, "1");
        let refused = Entry { about: Some("1".to_owned()), ..Entry::of(1, Asked::Read, What::Fail, 0) };
        let mut seen = evidence(placed.into_iter().chain([refused]));
        assert_eq!(nothing_was_refused_that_should_not_be(&seen).len(), 1);
        seen.rewinds = rewound(Role::Order, 0, 5);
        assert!(nothing_was_refused_that_should_not_be(&seen).is_empty());
    }

    #[test]
    fn a_stale_read_is_found() {
        let read = |revisions| Entry { revisions, ..Entry::of(1, Asked::Read, What::Ok, 0) };
        assert!(reads_see_what_their_token_tells_of(&evidence([read(Some((2, 3)))])).is_empty());
        assert_eq!(reads_see_what_their_token_tells_of(&evidence([read(Some((2, 1)))])).len(), 1);
    }
}
