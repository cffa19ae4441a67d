use std::collections::{BTreeMap, BTreeSet};

use super::Evidence;

/// One key is one command, one command one key; an order is there because of one command, and is charged at most once.
pub(super) fn nothing_happened_twice(evidence: &Evidence) -> Vec<String> {
    let mut twice = Vec::new();
    let mut keys_of: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let commands = evidence.commands();
    for (key, command) in &commands {
        if command.ids.len() > 1 {
            twice.push(format!("{key} is several commands: {:?}", command.ids));
        }
        for id in &command.ids {
            keys_of.entry(id.clone()).or_default().insert(key);
        }
    }
    let shared = keys_of.iter().filter(|(_, keys)| keys.len() > 1);
    twice.extend(shared.map(|(id, keys)| format!("command {id} is that of several keys: {keys:?}")));
    // What was never answered may have come to an order, too, but to one.
    let unanswered = commands.values().filter(|command| command.place && command.ids.is_empty()).count();
    let strange: Vec<_> =
        evidence.books.orders.iter().map(|order| &order.order_id).filter(|id| !keys_of.contains_key(*id)).collect();
    if strange.len() > unanswered {
        twice.push(format!("{} orders for {unanswered} keys without an answer: {strange:?}", strange.len()));
    }
    let mut charged: BTreeMap<&str, usize> = BTreeMap::new();
    for charge in evidence.books.charges.iter().filter(|charge| charge.taken > 0) {
        *charged.entry(&charge.order_id).or_default() += 1;
    }
    let often = charged.into_iter().filter(|(_, times)| *times > 1);
    twice.extend(often.map(|(order, times)| format!("order {order} was charged {times} times")));
    twice
}

#[cfg(test)]
mod tests {
    use proto::order::v1::Order;

    use super::super::made_up::{call, evidence};
    use super::*;
    use crate::nemesis::books::Charged;
    use crate::nemesis::history::{Asked, Told};

    #[test]
    fn a_key_with_two_commands_and_a_command_with_two_keys_are_found() {
        let place = |key, id| call(1, Asked::Place, key, Told::Completed, id);
        let once = [place("a", "1"), place("b", "2"), place("a", "1")];
        assert!(nothing_happened_twice(&evidence(once.concat())).is_empty());
        assert_eq!(nothing_happened_twice(&evidence([place("a", "1"), place("a", "2")].concat())).len(), 1);
        assert_eq!(nothing_happened_twice(&evidence([place("a", "1"), place("b", "1")].concat())).len(), 1);
    }

    #[test]
    fn an_order_that_nobody_asked_for_is_found() {
        let mut seen = evidence(call(1, Asked::Place, "a", Told::Completed, "1"));
        let order = |id: &str| Order { order_id: id.to_owned(), ..Order::default() };
        seen.books.orders = vec![order("1"), order("2")];
        assert_eq!(nothing_happened_twice(&seen).len(), 1);
        // It may be that of a call that was never answered.
        seen.history.push(call(1, Asked::Place, "b", Told::Completed, "")[0].clone());
        assert!(nothing_happened_twice(&seen).is_empty());
    }

    #[test]
    fn a_second_charge_is_found() {
        let mut seen = evidence([]);
        let charge = |reference: &str| Charged {
            reference: reference.to_owned(),
            order_id: "1".to_owned(),
            taken: 5,
            ..Charged::default()
        };
        seen.books.charges = vec![charge("a")];
        assert!(nothing_happened_twice(&seen).is_empty());
        seen.books.charges.push(charge("b"));
        assert_eq!(nothing_happened_twice(&seen).len(), 1);
    }
}
