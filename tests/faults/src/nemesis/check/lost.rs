use proto::order::v1::OrderStatus;

use super::{Asked, Command, Evidence, Role, Told, What};

/// What was answered COMPLETED is there.
pub(super) fn nothing_acknowledged_is_lost(evidence: &Evidence) -> Vec<String> {
    let commands = evidence.commands();
    let completed = commands.iter().filter(|(_, command)| command.ended() == Some(Told::Completed));
    let missing = completed.filter(|(_, command)| !evidence.is_exempt(command) && !is_there(evidence, command));
    let mut lost: Vec<_> = missing.map(|(key, command)| format!("what {key} did is gone: {command:?}")).collect();
    let registered = evidence.history.iter().filter(|entry| entry.asked == Asked::Register && entry.what == What::Ok);
    let accounts = registered.filter_map(|entry| Some((entry, format!("account/{}", entry.about.as_ref()?))));
    let gone = accounts.filter(|(entry, key)| {
        evidence.books.head(key).is_none() && !evidence.may_be_lost(Role::Registration, 0, Some(entry.at))
    });
    lost.extend(gone.map(|(_, key)| format!("{key} is gone")));
    lost
}

fn is_there(evidence: &Evidence, command: &Command) -> bool {
    let order = |id: &str| evidence.books.orders.iter().find(|order| order.order_id == id);
    match (command.place, command.cancel, &command.about) {
        (true, _, _) => command.ids.iter().all(|id| order(id).is_some()),
        // If it was placed at a time that is lost, so is the cancel.
        (_, true, Some(about)) => order(about)
            .map_or_else(|| evidence.exempt_ids().contains(about), |order| order.status() == OrderStatus::Canceled),
        (_, _, Some(about)) => evidence.books.head(&format!("payment-method/{about}")).is_some(),
        _ => true,
    }
}

/// What was answered REJECTED has made no order.
pub(super) fn what_was_rejected_left_no_trace(evidence: &Evidence) -> Vec<String> {
    let commands = evidence.commands();
    let rejected = commands.values().filter(|command| command.place && command.ended() == Some(Told::Rejected));
    let ids = rejected.flat_map(|command| &command.ids);
    let traces = ids.filter(|id| evidence.books.head(&format!("order/{id}")).is_some());
    traces.map(|id| format!("order {id} was rejected, and is there")).collect()
}

#[cfg(test)]
mod tests {
    use proto::order::v1::Order;

    use super::super::made_up::{call, evidence, rewound};
    use super::*;

    fn order(id: &str, status: OrderStatus) -> Order {
        Order { order_id: id.to_owned(), status: status.into(), ..Order::default() }
    }

    #[test]
    fn an_order_that_was_acknowledged_and_is_gone_is_found() {
        let mut seen = evidence(call(5, Asked::Place, "key", Told::Completed, "one"));
        assert_eq!(nothing_acknowledged_is_lost(&seen).len(), 1);
        seen.books.orders.push(order("one", OrderStatus::Processed));
        assert!(nothing_acknowledged_is_lost(&seen).is_empty());
    }

    #[test]
    fn only_what_was_done_between_a_copy_and_its_restoring_may_be_lost() {
        let mut seen = evidence(call(5, Asked::Place, "key", Told::Completed, "one"));
        for (window, may) in [((3, 7), true), ((6, 9), false), ((1, 4), false)] {
            seen.rewinds = rewound(Role::Order, window.0, window.1);
            assert_eq!(nothing_acknowledged_is_lost(&seen).is_empty(), may, "{window:?}");
        }
        seen.rewinds = rewound(Role::Billing, 3, 7);
        assert_eq!(nothing_acknowledged_is_lost(&seen).len(), 1, "another service's database");
    }

    #[test]
    fn a_cancel_that_was_acknowledged_and_undone_is_found() {
        let mut seen = evidence(call(5, Asked::Cancel, "key", Told::Completed, "cancel"));
        seen.history.iter_mut().for_each(|entry| entry.about = Some("one".to_owned()));
        seen.books.orders.push(order("one", OrderStatus::Processed));
        assert_eq!(nothing_acknowledged_is_lost(&seen).len(), 1);
        seen.books.orders = vec![order("one", OrderStatus::Canceled)];
        assert!(nothing_acknowledged_is_lost(&seen).is_empty());
    }

    #[test]
    fn a_card_and_an_account_that_are_gone_are_found() {
        for asked in [Asked::AddCard, Asked::Register] {
            let mut seen = evidence(call(5, asked, "key", Told::Completed, "id"));
            seen.history.iter_mut().for_each(|entry| entry.about = Some("one".to_owned()));
            assert!(!nothing_acknowledged_is_lost(&seen).is_empty(), "{asked:?}");
        }
    }

    #[test]
    fn an_order_that_was_rejected_and_is_there_is_found() {
        let mut seen = evidence(call(5, Asked::Place, "key", Told::Rejected, "one"));
        assert!(what_was_rejected_left_no_trace(&seen).is_empty());
        seen.books.services.entry("order".to_owned()).or_default().heads.insert("order/one".to_owned(), 1);
        assert_eq!(what_was_rejected_left_no_trace(&seen).len(), 1);
    }
}
