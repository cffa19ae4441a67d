//! A command's receipt is its fence: one effect, one answer, for ever.

use event::Micros;

use crate::shop::{
    HOUR, SECOND, Shop, answer, changed, command, command_of_anybody, ended, failed, given_back, reason,
};

on_both!(
    a_command_twice_in_one_batch_has_one_effect,
    a_command_brought_again_gets_the_same_answer_byte_for_byte,
    another_request_under_the_same_id_is_told_so_and_changes_nothing,
    a_rejection_leaves_no_trace_but_its_receipt,
    a_rejection_after_a_write_leaves_no_trace_but_its_receipt,
    a_rejection_is_remembered_when_its_reason_has_gone,
    a_command_not_begun_in_time_is_rejected_for_ever,
    a_command_done_in_time_answers_after_its_time,
    what_was_refused_before_the_lane_is_remembered,
    a_response_with_a_receipt_of_its_own_is_refused,
    what_anybody_may_send_keeps_no_receipt,
    a_refusal_lets_stand_what_was_written_only_where_there_is_no_receipt,
    one_bad_command_costs_only_itself,
    a_command_of_a_later_version_is_given_back,
    a_token_names_what_was_changed,
    a_receipt_is_found_by_its_id,
);

async fn a_command_twice_in_one_batch_has_one_effect(shop: &Shop) {
    let counter = shop.counter(5).await;
    let sell = command(shop.id(), counter, format!("sell 2 {counter}"));
    let outcomes = shop.batch([sell.clone(), sell]).await;
    assert_eq!(answer(&outcomes[0]), answer(&outcomes[1]));
    assert_eq!([ended(&outcomes[0]).replayed, ended(&outcomes[1]).replayed], [false, true]);
    assert_eq!(shop.told(counter).await.units, 3);
}

async fn a_command_brought_again_gets_the_same_answer_byte_for_byte(shop: &Shop) {
    let counter = shop.counter(5).await;
    let sell = command(shop.id(), counter, format!("sell 2 {counter}"));
    let first = shop.one(sell.clone()).await;
    shop.act(counter, format!("sell 3 {counter}")).await;
    let again = shop.one(sell).await;
    assert!(ended(&again).replayed, "it is answered from its receipt, and not done again");
    assert_eq!((answer(&first), &ended(&first).token), (answer(&again), &ended(&again).token));
    assert_eq!(shop.told(counter).await.units, 0);
}

async fn another_request_under_the_same_id_is_told_so_and_changes_nothing(shop: &Shop) {
    let counter = shop.counter(5).await;
    let id = shop.id();
    let first = shop.one(command(id, counter, format!("sell 1 {counter}"))).await;
    let other = command(id, counter, format!("sell 2 {counter}"));
    assert_eq!(reason(&shop.one(other.clone()).await), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(reason(&shop.batch([other.clone(), other]).await[1]), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(shop.told(counter).await.units, 4);
    assert_eq!(answer(&shop.one(command(id, counter, format!("sell 1 {counter}"))).await), answer(&first));
}

async fn a_rejection_leaves_no_trace_but_its_receipt(shop: &Shop) {
    let counter = shop.counter(1).await;
    let before = (shop.count("event_log").await, shop.count("receipt").await);
    let outcome = shop.one(command(shop.id(), counter, format!("sell 2 {counter}"))).await;
    assert_eq!(reason(&outcome), "SOLD_OUT");
    assert_eq!((shop.count("event_log").await, shop.count("receipt").await), (before.0, before.1 + 1));
}

async fn a_rejection_after_a_write_leaves_no_trace_but_its_receipt(shop: &Shop) {
    let counter = shop.counter(1).await;
    let bad = command(shop.id(), counter, format!("write a note; stock 7 {counter}; charge 1 {counter}; reject"));
    let good = command(shop.id(), counter, format!("sell 1 {counter}"));
    let outcomes = shop.batch([bad.clone(), good]).await;
    assert_eq!(reason(&outcomes[0]), "REJECTED");
    answer(&outcomes[1]);
    assert_eq!(shop.notes().await, Vec::<String>::new(), "what was refused has changed nothing");
    assert_eq!((shop.told(counter).await.units, shop.log(counter).await.len()), (0, 2));
    assert_eq!(shop.count("effect").await, 0);
    assert!(ended(&shop.one(bad).await).replayed);
}

async fn a_rejection_is_remembered_when_its_reason_has_gone(shop: &Shop) {
    let counter = shop.counter(1).await;
    let sell = command(shop.id(), counter, format!("sell 2 {counter}"));
    let first = shop.one(sell.clone()).await;
    shop.act(counter, format!("stock 5 {counter}")).await;
    let again = shop.one(sell).await;
    assert_eq!(ended(&first).result, ended(&again).result);
    assert_eq!(shop.told(counter).await.units, 6);
}

async fn a_command_not_begun_in_time_is_rejected_for_ever(shop: &Shop) {
    let counter = shop.counter(1).await;
    let sell = command(shop.id(), counter, format!("sell 1 {counter}"));
    shop.forward(25 * HOUR);
    assert_eq!(reason(&shop.one(sell.clone()).await), "EXPIRED");
    shop.back(25 * HOUR);
    assert_eq!(reason(&shop.one(sell).await), "EXPIRED");
    assert_eq!(shop.told(counter).await.units, 1);
}

async fn a_command_done_in_time_answers_after_its_time(shop: &Shop) {
    let counter = shop.counter(1).await;
    let sell = command(shop.id(), counter, format!("sell 1 {counter}"));
    let first = shop.one(sell.clone()).await;
    shop.forward(25 * HOUR);
    assert_eq!(answer(&shop.one(sell).await), answer(&first));
}

async fn what_was_refused_before_the_lane_is_remembered(shop: &Shop) {
    let counter = shop.counter(1).await;
    let sell = command(shop.id(), counter, format!("sell 1 {counter}"));
    let refusal =
        millrace_ledger::Rejection::new(millrace_ledger::Code::Unauthenticated, "LOGGED_OUT", "the session has ended");
    let refused = changed(sell.clone(), |command| command.refused = Some(refusal));
    assert_eq!(reason(&shop.one(refused).await), "LOGGED_OUT");
    assert_eq!(reason(&shop.one(sell).await), "LOGGED_OUT");
    assert_eq!(shop.told(counter).await.units, 1);
}

async fn a_response_with_a_receipt_of_its_own_is_refused(shop: &Shop) {
    let counter = shop.counter(1).await;
    let outcome =
        shop.until_done(command(shop.id(), counter, format!("sell 1 {counter}; answer-with-a-receipt"))).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!(shop.told(counter).await.units, 1);
}

async fn what_anybody_may_send_keeps_no_receipt(shop: &Shop) {
    let counter = shop.counter(5).await;
    let receipts = shop.count("receipt").await;
    let sell = command_of_anybody(shop.id(), counter, format!("sell 1 {counter}"));
    shop.batch([sell.clone(), sell.clone()]).await;
    let outcome = shop.one(command_of_anybody(shop.id(), counter, "reject")).await;
    assert_eq!(reason(&outcome), "REJECTED");
    let outcome = shop.one(command_of_anybody(shop.id(), counter, "fail")).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!((shop.told(counter).await.units, shop.count("receipt").await), (3, receipts));
}

async fn a_refusal_lets_stand_what_was_written_only_where_there_is_no_receipt(shop: &Shop) {
    let id = shop.id();
    let outcome = shop.one(command(shop.id(), id, "write with a receipt; reject-and-keep")).await;
    assert_eq!(reason(&outcome), "REJECTED");
    let outcome = shop.one(command_of_anybody(shop.id(), id, "write without one; reject-and-keep")).await;
    assert_eq!((reason(&outcome), shop.notes().await), ("REJECTED".to_owned(), vec!["without one".to_owned()]));
}

async fn one_bad_command_costs_only_itself(shop: &Shop) {
    let counter = shop.counter(9).await;
    let sell = |steps: &str| command(shop.id(), counter, format!("sell 1 {counter}; {steps}"));
    let outcomes = shop.batch([sell(""), sell("fail"), sell("panic"), sell("be-away"), sell("refuse"), sell("")]).await;
    answer(&outcomes[0]);
    assert!(outcomes[1..4].iter().all(given_back), "{outcomes:?}");
    assert_eq!(reason(&outcomes[4]), "REFUSED");
    answer(&outcomes[5]);
    assert_eq!(shop.told(counter).await.units, 7);
}

async fn a_command_of_a_later_version_is_given_back(shop: &Shop) {
    let newer = command(shop.id(), shop.id(), "");
    let newer = changed(newer, |command| "millrace.order.v1.OrderService/Wrap".clone_into(&mut command.method));
    for delivered in 1..20 {
        let outcome = shop.one(crate::shop::redelivered(delivered, newer.clone())).await;
        assert!(given_back(&outcome), "{outcome:?}");
    }
    assert_eq!(shop.count("receipt").await, 0);
}

async fn a_token_names_what_was_changed(shop: &Shop) {
    let (one, two) = (shop.counter(1).await, shop.counter(1).await);
    let outcome = shop.one(command(shop.id(), one, format!("load {one}"))).await;
    let nothing = ended(&outcome).token.clone();
    let outcome = shop.one(command(shop.id(), one, format!("sell 1 {one}; stock 1 {two}; stock 1 {two}"))).await;
    let names = |id: event::Id, revision: i64| (format!("counter/{id}"), revision);
    assert_eq!(entries(&ended(&outcome).token), [names(one, 2), names(two, 3)]);
    assert_eq!(entries(&nothing), []);
}

fn entries(token: &str) -> Vec<(String, i64)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
    let token: proto::command::v1::ConsistencyToken = proto::Message::decode(&*bytes).unwrap();
    token.entries.into_iter().map(|entry| (entry.key, entry.revision)).collect()
}

async fn a_receipt_is_found_by_its_id(shop: &Shop) {
    let counter = shop.counter(1).await;
    let (id, Micros(_)) = (shop.id(), shop.now());
    assert_eq!(shop.ledger.receipt(id).await.unwrap(), None);
    let failing = command(id, counter, format!("fail; sell 1 {counter}"));
    assert!(given_back(&shop.one(failing.clone()).await));
    assert_eq!(shop.ledger.receipt(id).await.unwrap(), None, "it has not ended");
    shop.world.repair();
    shop.forward(SECOND);
    let outcome = shop.one(failing).await;
    let (principal, found) = shop.ledger.receipt(id).await.unwrap().unwrap();
    assert_eq!((principal.as_str(), &found.result), ("user/somebody", &ended(&outcome).result));
}
