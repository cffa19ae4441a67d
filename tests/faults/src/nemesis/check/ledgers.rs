use millrace::Role;

use super::Evidence;

/// The log of each key is 1, 2, 3…, and its head is where it ends.
pub(super) fn revisions_have_no_gaps(evidence: &Evidence) -> Vec<String> {
    let mut gaps = Vec::new();
    for (name, service) in &evidence.books.services {
        for (key, revisions) in &service.events {
            if !revisions.iter().copied().eq(1..=i64::try_from(revisions.len()).unwrap_or(i64::MAX)) {
                gaps.push(format!("{name} has {key} with {revisions:?}"));
            }
        }
        for (key, head) in &service.heads {
            let last = service.events.get(key).and_then(|revisions| revisions.last());
            if last != Some(head) {
                gaps.push(format!("{name} has {key} at {head}, and its log ends with {last:?}"));
            }
        }
    }
    gaps
}

/// Each subscription has heard all, of each key that there is.
pub(super) fn cursors_are_where_logs_end(evidence: &Evidence) -> Vec<String> {
    let books = &evidence.books;
    let mut behind = Vec::new();
    for (name, service) in &books.services {
        let wrong = service.cursors.iter().filter(|cursor| !books.is_at_its_end(cursor));
        let wrong = wrong.filter(|cursor| !evidence.was_parked(&cursor.key));
        behind.extend(
            wrong.map(|cursor| format!("{name}: {cursor:?}, and its owner is at {:?}", books.head(&cursor.key))),
        );
    }
    behind.extend(books.unheard());
    behind
}

/// Nothing is left to be done.
pub(super) fn everything_has_ended(evidence: &Evidence) -> Vec<String> {
    let is_listed =
        |line: &String| evidence.parked.iter().any(|(key, _)| id_in(key).is_some_and(|id| line.contains(id)));
    evidence.books.open().into_iter().filter(|line| !is_listed(line)).collect()
}

fn id_in(key: &str) -> Option<&str> {
    key.split('/').nth(1).filter(|id| !id.is_empty())
}

/// What an operator has to decide are the consequences of a restored database, and nothing else.
pub(super) fn nothing_was_parked_but_what_diverged(evidence: &Evidence) -> Vec<String> {
    let is_restored = |service| evidence.rewinds.iter().any(|rewind| rewind.service == service);
    let expected = |reason: &str| {
        (!evidence.rewinds.is_empty() && reason.contains("diverged"))
            || (is_restored(Role::Order) && reason.contains("no such order: a restore has lost it"))
    };
    let wrong = evidence.parked.iter().filter(|(_, reason)| !expected(reason));
    wrong.map(|(key, reason)| format!("{key}: {reason}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{evidence, rewound};
    use super::*;
    use crate::nemesis::books::{Cursor, Service};

    fn owner(revisions: &[i64], head: i64) -> Service {
        let mut service = Service::default();
        service.events.insert("order/1".to_owned(), revisions.to_vec());
        service.heads.insert("order/1".to_owned(), head);
        service
    }

    fn reader(revision: i64, state: i16) -> Service {
        let key = "order/1".to_owned();
        let cursor = Cursor { subscription: "orders".to_owned(), key, revision, state, reason: None };
        Service { cursors: vec![cursor], ..Service::default() }
    }

    fn seen(owner: Service, reader: Service) -> Evidence {
        let mut seen = evidence([]);
        seen.books.services = [("order".to_owned(), owner), ("billing".to_owned(), reader)].into();
        seen
    }

    #[test]
    fn a_gap_a_repetition_and_a_head_elsewhere_are_found() {
        let gaps =
            |revisions: &[i64], head| revisions_have_no_gaps(&seen(owner(revisions, head), Service::default())).len();
        assert_eq!(gaps(&[1, 2, 3], 3), 0);
        assert_eq!(gaps(&[1, 3], 3), 1);
        assert_eq!(gaps(&[2, 3], 3), 1);
        assert_eq!(gaps(&[1, 2], 3), 1);
    }

    #[test]
    fn a_cursor_that_is_behind_or_beyond_or_does_not_flow_is_found() {
        let behind = |reader| cursors_are_where_logs_end(&seen(owner(&[1, 2], 2), reader)).len();
        assert_eq!(behind(reader(2, Cursor::FLOWING)), 0);
        assert_eq!(behind(reader(1, Cursor::FLOWING)), 1);
        assert_eq!(behind(reader(3, Cursor::FLOWING)), 1);
        assert_eq!(behind(reader(2, Cursor::PARKED)), 1);
    }

    #[test]
    fn a_key_that_nobody_has_heard_of_is_found() {
        let mut seen = seen(owner(&[1, 2], 2), reader(2, Cursor::FLOWING));
        seen.books.services.get_mut("order").unwrap().heads.insert("order/2".to_owned(), 1);
        assert_eq!(cursors_are_where_logs_end(&seen).len(), 1);
    }

    #[test]
    fn what_is_left_to_be_done_is_found() {
        let mut seen = seen(owner(&[1, 2], 2), reader(2, Cursor::FLOWING));
        assert!(everything_has_ended(&seen).is_empty());
        let order = seen.books.services.get_mut("order").unwrap();
        order.unpublished = 1;
        order.open_effects.push("payment/1 charge 1".to_owned());
        order.open_receipts.push("2".to_owned());
        seen.books.orders.push(proto::order::v1::Order::default());
        assert_eq!(everything_has_ended(&seen).len(), 4);
    }

    #[test]
    fn what_is_parked_for_no_good_reason_is_found() {
        let mut seen = evidence([]);
        seen.parked.push(("order/1".to_owned(), "it has diverged".to_owned()));
        assert_eq!(nothing_was_parked_but_what_diverged(&seen).len(), 1);
        seen.rewinds = rewound(Role::Order, 1, 2);
        assert!(nothing_was_parked_but_what_diverged(&seen).is_empty());
        let lost = "there is a payment of order/2 and no such order: a restore has lost it".to_owned();
        seen.parked.push(("payment/2".to_owned(), lost));
        assert!(nothing_was_parked_but_what_diverged(&seen).is_empty());
        seen.rewinds = rewound(Role::Billing, 1, 2);
        assert_eq!(nothing_was_parked_but_what_diverged(&seen).len(), 1, "nobody has lost an order");
        seen.rewinds = rewound(Role::Order, 1, 2);
        seen.parked.push(("order/2".to_owned(), "it panicked".to_owned()));
        assert_eq!(nothing_was_parked_but_what_diverged(&seen).len(), 1);
    }
}
