//! What was set aside, in an operator's hands.

use event::{Id, Key, Record};
use millrace_ledger::{Caller, Compared, Delivery, Outcome, operator};
use proto::Message;
use proto::operator::v1::{DropRequest, ListParkedRequest, Parked, ParkedKind, ParkedState, RedriveRequest};

use crate::shop::{
    HOUR, SECOND, Shop, answer, changed, command, command_of_anybody, created, delivery, ended, failed, from_log,
    order, part, reason, sealed, streamed,
};
use crate::toy::lock;

on_both!(
    what_is_parked_is_listed_with_its_reason_and_page_by_page,
    a_parked_key_is_driven_again_and_goes_on_in_order,
    a_parked_key_that_fails_again_parks_again,
    a_key_that_its_owner_has_lost_altogether_begins_anew_once_that_is_accepted,
    a_dropped_revision_is_skipped_recorded_and_shown_for_ever,
    a_damaged_row_of_an_owner_stops_its_key_until_it_is_dropped,
    what_could_not_be_read_for_an_event_is_not_read_once_it_is_dropped,
    a_drop_of_another_revision_changes_nothing,
    the_event_behind_a_dropped_one_is_not_dropped_with_it,
    a_parked_answer_is_driven_again_without_asking_again,
    a_dropped_answer_is_never_taken_in,
    a_parked_timer_is_driven_again_or_dropped,
    a_failed_command_is_carried_out_again_and_its_outcome_changes,
    a_failed_command_that_fails_again_stays_failed,
    a_redriven_command_that_kills_the_process_ends_failed,
    a_failed_command_whose_request_held_a_secret_cannot_be_driven_again,
    a_dropped_command_is_not_carried_out_again,
    an_operator_s_decision_in_the_batch_of_what_it_is_about_is_kept,
    what_is_not_parked_cannot_be_decided_about,
);

const REDRIVE: &str = "millrace.operator.v1.OperatorService/Redrive";
const DROP: &str = "millrace.operator.v1.OperatorService/Drop";

fn by_operator(shop: &Shop, method: &str, request: &impl Message) -> Delivery {
    let id = shop.id();
    let caller = Caller { name: "service/operator".to_owned(), ..Caller::default() };
    changed(delivery(sealed(method, id, id, request.encode_to_vec()).into()), |command| {
        command.caller = caller;
    })
}

fn redrive(shop: &Shop, id: &str) -> Delivery {
    let request = RedriveRequest { service: "toy".to_owned(), id: id.to_owned(), author: "ana".to_owned() };
    by_operator(shop, REDRIVE, &request)
}

fn drop_it(shop: &Shop, parked: &Parked) -> Delivery {
    let request = DropRequest {
        service: "toy".to_owned(),
        id: parked.id.clone(),
        revision: parked.revision,
        author: "ana".to_owned(),
        note: "beyond repair".to_owned(),
    };
    by_operator(shop, DROP, &request)
}

async fn list(shop: &Shop, request: ListParkedRequest) -> Vec<Parked> {
    let reader = shop.ledger.reader(Caller::default()).await.unwrap();
    operator::list_parked(reader, request).await.unwrap().parked
}

async fn all(shop: &Shop) -> Vec<Parked> {
    list(shop, ListParkedRequest::default()).await
}

async fn only(shop: &Shop) -> Parked {
    let parked = all(shop).await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    parked.into_iter().next().unwrap()
}

/// Brings an event until its key is parked.
async fn parked_at(shop: &Shop, event: &event::Record) {
    for _ in 0..5 {
        assert_eq!(shop.one(from_log(event)).await, Outcome::Noted);
    }
    shop.forward(HOUR);
    assert_eq!(shop.due().await, []);
}

/// A counter whose payment was made, and whose answer is parked.
async fn parked_answer(shop: &Shop) -> Id {
    let counter = shop.counter(1).await;
    shop.act(counter, format!("charge 7 {counter}")).await;
    lock(&shop.world.answers).push_back("fail");
    let answer = shop.work().await.remove(0);
    for _ in 0..5 {
        assert_eq!(shop.one(answer.clone()).await, Outcome::Noted);
    }
    counter
}

async fn parked_timer(shop: &Shop) -> Id {
    let counter = shop.counter(5).await;
    shop.act(counter, format!("remind 60 {counter} sell 1 {counter}, fail")).await;
    shop.forward(HOUR);
    let timer = shop.ring(shop.now()).await.remove(0);
    for _ in 0..5 {
        assert_eq!(shop.one(timer.clone()).await, Outcome::Noted);
    }
    counter
}

/// A command that has ended FAILED, about a counter of 2 units.
async fn failed_command(shop: &Shop, steps: &str) -> (Id, Delivery) {
    let counter = shop.counter(2).await;
    let failing = command(shop.id(), counter, steps.replace("it", &counter.to_string()));
    assert!(failed(&shop.until_done(failing.clone()).await));
    (counter, failing)
}

/// Brings what was driven again, as the worker does.
async fn carry_out_again(shop: &Shop) -> Vec<Outcome> {
    let redriven = shop.ledger.redriven(100).await.unwrap();
    shop.batch(redriven.into_iter().map(|(command, _)| Delivery { delivered: 3, ..delivery(command.into()) })).await
}

async fn what_is_parked_is_listed_with_its_reason_and_page_by_page(shop: &Shop) {
    let event = created(shop.id(), 1, "fail The Reason");
    parked_at(shop, &event).await;
    parked_answer(shop).await;
    parked_timer(shop).await;
    failed_command(shop, "fail").await;
    let listed = all(shop).await;
    let kinds: Vec<_> = listed.iter().map(Parked::kind).collect();
    assert_eq!(kinds, [ParkedKind::Answer, ParkedKind::Command, ParkedKind::Event, ParkedKind::Timer]);
    let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["charge", "millrace.order.v1.OrderService/PlaceOrder", "replica", "remind"]);
    for one in &listed {
        assert!(
            one.attempts == 5 && one.reason.contains("told to fail") && one.state() == ParkedState::Parked,
            "{one:?}"
        );
        let shown =
            operator::find_parked(&shop.ledger.reader(Caller::default()).await.unwrap(), &one.id).await.unwrap();
        assert_eq!(shown.as_ref(), Some(one));
    }
    let selections = [
        ListParkedRequest { key: event.key.to_string(), ..Default::default() },
        ListParkedRequest { name: "replica".to_owned(), ..Default::default() },
        ListParkedRequest { error: "the reason".to_owned(), ..Default::default() },
        ListParkedRequest { kind: ParkedKind::Event.into(), ..Default::default() },
    ];
    for selection in selections {
        assert_eq!(list(shop, selection.clone()).await, [listed[2].clone()], "{selection:?}");
    }
    let mut paged = Vec::new();
    let mut page_token = String::new();
    for _ in 0..4 {
        let reader = shop.ledger.reader(Caller::default()).await.unwrap();
        let page = ListParkedRequest { page_size: 1, page_token, ..Default::default() };
        let page = operator::list_parked(reader, page).await.unwrap();
        paged.extend(page.parked);
        page_token = page.next_page_token;
    }
    assert_eq!((paged, page_token.as_str()), (listed, ""));
}

async fn a_parked_key_is_driven_again_and_goes_on_in_order(shop: &Shop) {
    let id = shop.id();
    let events: Vec<_> =
        (1..=3).map(|revision| created(id, revision, if revision == 2 { "fail" } else { "" })).collect();
    shop.one(streamed(&events[0])).await;
    parked_at(shop, &events[1]).await;
    assert_eq!(shop.one(streamed(&events[2])).await, Outcome::Noted);
    shop.world.repair();
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    assert_eq!(all(shop).await, [], "it waits, and is not parked any more");
    let due = shop.due().await;
    assert_eq!((due[0].key.clone(), due[0].revision), (order(id), 1));
    assert_eq!(shop.batch(events[1..].iter().map(from_log)).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(shop.seen(&order(id)).await, [1, 2, 3]);
}

/// Its owner was restored to where it had nothing of the key yet.
async fn a_key_that_its_owner_has_lost_altogether_begins_anew_once_that_is_accepted(shop: &Shop) {
    let id = shop.id();
    shop.one(streamed(&created(id, 1, ""))).await;
    let other = Record { epoch: 2, ..created(id, 1, "write other") };
    assert_eq!(shop.one(streamed(&other)).await, Outcome::Noted);
    let compare = async || shop.compare("replica", &order(id), part(1, &[])).await;
    for dropped in [false, true] {
        assert!(matches!(compare().await, Compared::Diverged(reason) if reason.contains("ends at revision 0")));
        let parked = only(shop).await;
        let decision = if dropped { drop_it(shop, &parked) } else { redrive(shop, &parked.id) };
        ended(&shop.one(decision).await);
        assert_eq!(compare().await, Compared::Same);
        assert_eq!(shop.due().await, [], "there is nothing to wait for");
        if !dropped {
            // The same again, for the other decision.
            assert_eq!(shop.one(streamed(&created(id, 1, ""))).await, Outcome::Applied);
            assert_eq!(shop.one(streamed(&other)).await, Outcome::Noted);
        }
    }
    assert_eq!(shop.one(from_log(&other)).await, Outcome::Applied);
    assert_eq!(shop.notes().await, ["other"]);
}

async fn a_parked_key_that_fails_again_parks_again(shop: &Shop) {
    let event = created(shop.id(), 1, "fail");
    parked_at(shop, &event).await;
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    parked_at(shop, &event).await;
    assert_eq!((only(shop).await.attempts, shop.world.times("fail")), (5, 10));
}

async fn a_dropped_revision_is_skipped_recorded_and_shown_for_ever(shop: &Shop) {
    let id = shop.id();
    let events: Vec<_> =
        (1..=3).map(|revision| created(id, revision, if revision == 2 { "fail" } else { "" })).collect();
    shop.one(streamed(&events[0])).await;
    parked_at(shop, &events[1]).await;
    shop.one(streamed(&events[2])).await;
    let parked = only(shop).await;
    answer(&shop.one(drop_it(shop, &parked)).await);
    assert_eq!(shop.due().await[0].revision, 1, "it is read from the owner's log, with what comes behind it");
    assert_eq!(shop.batch(events[1..].iter().map(from_log)).await, [Outcome::Skipped, Outcome::Applied]);
    assert_eq!((shop.seen(&order(id)).await, shop.world.times("fail")), (vec![1, 3], 5));
    assert_eq!(shop.one(streamed(&created(id, 4, ""))).await, Outcome::Applied, "it flows");
    let left = only(shop).await;
    let dropped = left.dropped.clone().unwrap();
    assert_eq!((left.state(), left.key.clone(), left.revision), (ParkedState::Diverged, order(id).to_string(), 2));
    assert!(left.has_diverged && left.reason.contains("told to fail"), "{left:?}");
    assert_eq!((dropped.author.as_str(), dropped.note.as_str()), ("operator/ana", "beyond repair"));
    assert!(dropped.time.is_some());
    parked_at(shop, &created(id, 5, "fail")).await;
    let again = list(shop, ListParkedRequest { state: ParkedState::Parked.into(), ..Default::default() }).await;
    assert!(again[0].has_diverged && again[0].revision == 5, "{again:?}");
}

async fn what_could_not_be_read_for_an_event_is_not_read_once_it_is_dropped(shop: &Shop) {
    let id = shop.id();
    let events = [created(id, 1, "read-lost"), created(id, 2, "")];
    parked_at(shop, &events[0]).await;
    answer(&shop.one(drop_it(shop, &only(shop).await)).await);
    assert_eq!(shop.one(streamed(&events[0])).await, Outcome::Noted, "it is read from the owner's log");
    assert_eq!(shop.batch(events.iter().map(from_log)).await, [Outcome::Skipped, Outcome::Applied]);
    assert_eq!(shop.seen(&order(id)).await, [2]);
}

async fn a_drop_of_another_revision_changes_nothing(shop: &Shop) {
    parked_at(shop, &created(shop.id(), 1, "fail")).await;
    let parked = only(shop).await;
    let outcome = shop.one(drop_it(shop, &Parked { revision: 2, ..parked.clone() })).await;
    assert_eq!(reason(&outcome), "OTHER_REVISION");
    assert_eq!(only(shop).await, parked);
}

async fn the_event_behind_a_dropped_one_is_not_dropped_with_it(shop: &Shop) {
    let id = shop.id();
    let events = [created(id, 1, "fail"), created(id, 2, "fail")];
    parked_at(shop, &events[0]).await;
    shop.one(streamed(&events[1])).await;
    answer(&shop.one(drop_it(shop, &only(shop).await)).await);
    assert_eq!(shop.one(from_log(&events[0])).await, Outcome::Skipped);
    parked_at(shop, &events[1]).await;
    let parked = list(shop, ListParkedRequest { state: ParkedState::Parked.into(), ..Default::default() }).await;
    assert_eq!(parked[0].revision, 2);
}

async fn a_parked_answer_is_driven_again_without_asking_again(shop: &Shop) {
    let counter = parked_answer(shop).await;
    shop.world.repair();
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    assert_eq!(shop.batch(shop.work().await).await, [Outcome::Applied]);
    assert_eq!((shop.told(counter).await.paid, lock(&shop.world.calls).len()), (7, 1));
    assert_eq!(all(shop).await, []);
}

async fn a_dropped_answer_is_never_taken_in(shop: &Shop) {
    let counter = parked_answer(shop).await;
    let parked = only(shop).await;
    assert_eq!((parked.key.clone(), parked.revision), (Key::new("counter", counter).to_string(), 2));
    answer(&shop.one(drop_it(shop, &parked)).await);
    shop.world.repair();
    shop.forward(HOUR);
    assert_eq!(shop.work().await.len(), 0);
    assert_eq!((shop.told(counter).await.paid, only(shop).await.state()), (0, ParkedState::Diverged));
}

async fn a_parked_timer_is_driven_again_or_dropped(shop: &Shop) {
    let (one, two) = (parked_timer(shop).await, parked_timer(shop).await);
    let parked = all(shop).await;
    let [first, second] = &parked[..] else { panic!("{parked:?}") };
    let driven = if first.key.ends_with(&one.to_string()) { one } else { two };
    answer(&shop.one(redrive(shop, &first.id)).await);
    answer(&shop.one(drop_it(shop, second)).await);
    shop.world.repair();
    assert_eq!(shop.batch(shop.ring(shop.now()).await).await, [Outcome::Applied]);
    let other = if driven == one { two } else { one };
    assert_eq!((shop.told(driven).await.sold, shop.told(other).await.sold), (1, 0));
    assert_eq!((shop.count("timer").await, only(shop).await.state()), (0, ParkedState::Diverged));
}

async fn a_failed_command_is_carried_out_again_and_its_outcome_changes(shop: &Shop) {
    let (counter, failing) = failed_command(shop, "sell 1 it; fail").await;
    shop.world.repair();
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    let outcomes = carry_out_again(shop).await;
    let first = answer(&outcomes[0]);
    assert_eq!(answer(&shop.one(failing).await), first, "whoever asks again gets the new outcome");
    assert_eq!((shop.told(counter).await.units, carry_out_again(shop).await, all(shop).await), (1, vec![], vec![]));
    assert_eq!(shop.log(counter).await.pop().unwrap().principal, "user/somebody");
}

async fn a_failed_command_that_fails_again_stays_failed(shop: &Shop) {
    let (_, failing) = failed_command(shop, "fail").await;
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    for _ in 0..5 {
        carry_out_again(shop).await;
    }
    assert_eq!((carry_out_again(shop).await, shop.world.times("fail")), (vec![], 10));
    assert!(failed(&shop.one(failing).await));
    assert_eq!(only(shop).await.attempts, 5, "and can be driven again");
}

async fn a_redriven_command_that_kills_the_process_ends_failed(shop: &Shop) {
    failed_command(shop, "fail; hang").await;
    answer(&shop.one(redrive(shop, &only(shop).await.id)).await);
    // Now it gets further, and kills.
    let failing = shop.ledger.redriven(1).await.unwrap().remove(0).0;
    let hanging = command(failing.id, failing.target, "hang");
    let hanging = changed(hanging, |command| command.request_hash = failing.request_hash);
    let suspect = Delivery { delivered: 3, ..hanging };
    for kills in 1..=5 {
        crate::shop::killed_when(shop.one(suspect.clone()), || shop.world.times("hang") == kills).await;
    }
    assert!(failed(&shop.one(suspect).await));
    assert_eq!(shop.world.times("hang"), 5);
}

async fn a_failed_command_whose_request_held_a_secret_cannot_be_driven_again(shop: &Shop) {
    let id = shop.id();
    let secret = changed(command_of_anybody(id, id, "fail"), |command| command.anonymous = false);
    assert!(failed(&shop.until_done(secret).await));
    assert_eq!(reason(&shop.one(redrive(shop, &only(shop).await.id)).await), "REQUEST_NOT_KEPT");
    assert_eq!(shop.number("select count(*) from receipt where request is not null").await, 0);
    assert_eq!((only(shop).await.state(), carry_out_again(shop).await), (ParkedState::Parked, vec![]));
}

async fn a_dropped_command_is_not_carried_out_again(shop: &Shop) {
    let (_, failing) = failed_command(shop, "fail").await;
    let parked = only(shop).await;
    answer(&shop.one(drop_it(shop, &parked)).await);
    shop.world.repair();
    assert_eq!(reason(&shop.one(redrive(shop, &parked.id)).await), "NOT_PARKED");
    assert!(failed(&shop.one(failing).await));
    assert_eq!(
        (only(shop).await.state(), shop.number("select count(*) from receipt where request is not null").await),
        (ParkedState::Diverged, 0)
    );
}

async fn an_operator_s_decision_in_the_batch_of_what_it_is_about_is_kept(shop: &Shop) {
    let id = shop.id();
    let (poison, next) = (created(id, 1, "fail"), created(id, 2, ""));
    parked_at(shop, &poison).await;
    shop.world.repair();
    let (redriven, parked) = (redrive(shop, &only(shop).await.id), only(shop).await);
    let outcomes = shop.batch([streamed(&next), redriven, drop_it(shop, &parked)]).await;
    answer(&outcomes[1]);
    assert_eq!((outcomes[0].clone(), reason(&outcomes[2])), (Outcome::Noted, "NOT_PARKED".to_owned()));
    assert_eq!(shop.due().await.len(), 1);
    assert_eq!(shop.batch([from_log(&poison), from_log(&next)]).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(shop.seen(&order(id)).await, [1, 2]);
}

async fn what_is_not_parked_cannot_be_decided_about(shop: &Shop) {
    let id = shop.id();
    shop.one(streamed(&created(id, 1, "fail"))).await;
    let waiting = Parked { id: format!("event:replica:{}", order(id)), revision: 1, ..Default::default() };
    for decision in [redrive(shop, &waiting.id), drop_it(shop, &waiting), redrive(shop, "event:nobody:order/nothing")] {
        assert_eq!(reason(&shop.one(decision).await), "NOT_PARKED");
    }
    let anybody = command_of_anybody(shop.id(), id, "fail");
    assert!(matches!(ended(&shop.until_done(anybody).await).result, millrace_ledger::CommandResult::Failed(_)));
    assert_eq!(all(shop).await, [], "what keeps no receipt leaves nothing to drive again");
    shop.forward(SECOND);
    assert_eq!(shop.due().await.len(), 1, "it still waits, as before");
}

async fn a_damaged_row_of_an_owner_stops_its_key_until_it_is_dropped(shop: &Shop) {
    let id = shop.id();
    let (first, second, third) = (created(id, 1, ""), created(id, 2, ""), created(id, 3, ""));
    let damaged = Record { body: created(id, 2, "write damaged").body, ..second };
    shop.one(streamed(&first)).await;
    assert_eq!(shop.one(from_log(&damaged)).await, Outcome::Noted);
    let events = [first, damaged.clone(), third.clone()];
    let compared = shop.compare("replica", &order(id), part(1, &events)).await;
    assert!(matches!(&compared, Compared::Diverged(reason) if reason.contains("damaged")), "{compared:?}");
    ended(&shop.one(drop_it(shop, &only(shop).await)).await);
    assert_eq!(shop.batch([from_log(&damaged), from_log(&third)]).await, [Outcome::Skipped, Outcome::Applied]);
    assert_eq!((shop.seen(&order(id)).await, shop.notes().await), (vec![1, 3], vec![]));
}
