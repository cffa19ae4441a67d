//! What a service does to the world outside: wished in a transaction, done by a worker, answered once.

use millrace_ledger::Outcome;

use crate::shop::{HOUR, LEASE, SECOND, Shop, answer, command, failed, given_back, killed_when, reason};
use crate::toy::lock;

on_both!(
    an_effect_is_leased_once,
    an_answer_is_taken_in_once,
    after_a_crash_the_provider_is_asked_first,
    what_nobody_knows_is_asked_for_sooner_than_the_lease_runs_out,
    a_wish_is_withdrawn_only_before_it_is_begun,
    a_wish_and_its_withdrawal_in_one_batch_leave_nothing,
    an_answer_that_cannot_be_taken_in_is_kept_and_parked_in_the_end,
    an_answer_that_fails_for_a_while_is_taken_in_without_asking_again,
    an_answer_that_kills_the_process_is_parked_in_the_end,
    an_answer_to_what_is_parked_changes_nothing,
    a_wish_without_an_event_of_its_own_is_a_failure,
);

async fn charged(shop: &Shop) -> event::Id {
    let counter = shop.counter(1).await;
    shop.act(counter, format!("charge 7 {counter}")).await;
    counter
}

async fn an_effect_is_leased_once(shop: &Shop) {
    let counter = charged(shop).await;
    assert_eq!(shop.work().await.len(), 1);
    assert_eq!(shop.work().await.len(), 0);
    assert_eq!(*lock(&shop.world.calls), [(format!("counter/{counter}:charge:2"), false)]);
}

async fn an_answer_is_taken_in_once(shop: &Shop) {
    let counter = charged(shop).await;
    let answers = shop.work().await;
    let [one, two] = [answers[0].clone(), answers[0].clone()];
    let outcomes = shop.batch([one.clone(), two]).await;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Duplicate], "an answer is taken in once");
    assert_eq!(shop.one(one).await, Outcome::Duplicate);
    assert_eq!((shop.told(counter).await.paid, shop.log(counter).await.len()), (7, 3));
    let log = shop.log(counter).await;
    let (wish, paid) = (&log[1], &log[2]);
    assert_eq!((paid.command_id, paid.cause_id), (wish.command_id, Some(wish.id)));
    shop.forward(HOUR);
    assert_eq!(shop.work().await.len(), 0);
}

async fn after_a_crash_the_provider_is_asked_first(shop: &Shop) {
    let counter = charged(shop).await;
    let lost = shop.work().await;
    shop.forward(LEASE + SECOND);
    let answers = shop.work().await;
    let asked: Vec<bool> = lock(&shop.world.calls).iter().map(|(_, ask_first)| *ask_first).collect();
    assert_eq!((asked, answers.len()), (vec![false, true], 1), "it may have been done: it is asked for first");
    let outcomes = shop.batch(lost.into_iter().chain(answers)).await;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Duplicate], "two workers, one answer");
    assert_eq!(shop.told(counter).await.paid, 7);
}

async fn what_nobody_knows_is_asked_for_sooner_than_the_lease_runs_out(shop: &Shop) {
    let counter = charged(shop).await;
    lock(&shop.world.answers).extend(["lost", "lost", "lost", "lost", "lost", "lost"]);
    assert_eq!(shop.work().await.len(), 0);
    let key = event::Key::new("counter", counter);
    for _ in 0..6 {
        shop.ledger.postpone(&key, "charge", 2).await.unwrap();
        assert_eq!(shop.work().await.len(), 0, "not at once");
        shop.forward(10 * SECOND);
        if let [answer] = &shop.work().await[..] {
            assert_eq!(shop.one(answer.clone()).await, Outcome::Applied);
        }
    }
    assert_eq!(shop.told(counter).await.paid, 7, "a provider may be away for long");
    shop.ledger.postpone(&key, "charge", 2).await.unwrap();
    shop.forward(HOUR);
    assert_eq!(shop.work().await.len(), 0, "what was answered is not taken up again");
}

async fn a_wish_is_withdrawn_only_before_it_is_begun(shop: &Shop) {
    let (one, two) = (charged(shop).await, shop.counter(1).await);
    let begun = shop.work().await;
    shop.act(two, format!("charge 5 {two}")).await;
    let withdraw = |counter| command(shop.id(), counter, format!("withdraw {counter}"));
    assert_eq!(reason(&shop.one(withdraw(one)).await), "BEGUN");
    answer(&shop.one(withdraw(two)).await);
    assert_eq!(reason(&shop.one(withdraw(two)).await), "BEGUN", "there is none any more");
    shop.forward(HOUR);
    assert_eq!(shop.work().await.len(), 1, "only that which was begun");
    assert_eq!(shop.one(begun[0].clone()).await, Outcome::Applied);
    assert_eq!((shop.told(one).await.paid, shop.told(two).await.paid), (7, 0));
}

async fn a_wish_and_its_withdrawal_in_one_batch_leave_nothing(shop: &Shop) {
    let counter = shop.counter(1).await;
    let steps = [format!("charge 7 {counter}"), format!("withdraw {counter}")];
    for outcome in shop.batch(steps.map(|steps| command(shop.id(), counter, steps))).await {
        answer(&outcome);
    }
    assert_eq!(shop.work().await.len(), 0);
}

async fn an_answer_that_cannot_be_taken_in_is_kept_and_parked_in_the_end(shop: &Shop) {
    let counter = charged(shop).await;
    lock(&shop.world.answers).push_back("fail");
    let mut taken_in = 0;
    for _ in 0..20 {
        for answer in shop.work().await {
            assert_eq!(shop.one(answer).await, Outcome::Noted);
            taken_in += 1;
        }
        shop.forward(10 * SECOND);
    }
    assert_eq!((taken_in, shop.world.times("fail")), (5, 5));
    assert_eq!(lock(&shop.world.calls).len(), 1, "the answer was kept: nobody is asked again");
    assert_eq!((shop.told(counter).await.paid, shop.log(counter).await.len()), (0, 2));
}

async fn an_answer_that_fails_for_a_while_is_taken_in_without_asking_again(shop: &Shop) {
    let counter = charged(shop).await;
    lock(&shop.world.answers).push_back("be-away; fail");
    let answers = shop.work().await;
    assert!(given_back(&shop.one(answers[0].clone()).await));
    lock(&shop.world.answers).push_back("fail");
    shop.forward(LEASE);
    assert_eq!(shop.one(shop.work().await.remove(0)).await, Outcome::Noted);
    shop.world.repair();
    shop.forward(SECOND);
    assert_eq!(shop.one(shop.work().await.remove(0)).await, Outcome::Applied);
    assert_eq!(shop.told(counter).await.paid, 7);
    assert_eq!(lock(&shop.world.calls).len(), 2);
}

async fn an_answer_that_kills_the_process_is_parked_in_the_end(shop: &Shop) {
    let counter = charged(shop).await;
    lock(&shop.world.answers).extend(["hang"; 20]);
    let mut kills = 0;
    for _ in 0..20 {
        for answer in shop.work().await {
            kills += 1;
            if kills > 7 {
                assert_eq!(shop.one(answer).await, Outcome::Noted);
            } else {
                killed_when(shop.one(answer), || shop.world.times("hang") == kills).await;
            }
        }
        shop.forward(HOUR);
    }
    assert_eq!((kills, shop.world.times("hang"), shop.told(counter).await.paid), (8, 7, 0));
}

async fn an_answer_to_what_is_parked_changes_nothing(shop: &Shop) {
    let counter = charged(shop).await;
    lock(&shop.world.answers).push_back("fail");
    let answer = shop.work().await.remove(0);
    for _ in 0..5 {
        assert_eq!(shop.one(answer.clone()).await, Outcome::Noted);
    }
    shop.world.repair();
    assert_eq!(shop.one(answer).await, Outcome::Duplicate);
    assert_eq!(shop.told(counter).await.paid, 0);
}

async fn a_wish_without_an_event_of_its_own_is_a_failure(shop: &Shop) {
    let counter = shop.counter(1).await;
    let outcome = shop.until_done(command(shop.id(), counter, format!("wish {counter}"))).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!(shop.count("effect").await, 0);
}
