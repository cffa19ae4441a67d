//! What is to happen at a time: set and taken back in a transaction, brought when it is due, done once.

use event::{Id, Micros};
use millrace_ledger::{Delivery, Outcome};

use crate::shop::{HOUR, LEASE, SECOND, Shop, answer, command, failed, given_back, killed_when};

on_both!(
    a_timer_fires_once_when_it_is_due,
    what_a_timer_does_goes_on_with_what_set_it,
    a_timer_that_was_replaced_fires_when_the_new_one_is_due,
    a_timer_that_was_taken_back_does_not_fire_even_if_it_was_on_its_way,
    a_timer_that_is_taken_back_in_the_batch_that_brings_it_does_not_fire,
    a_timer_may_be_set_anew_by_what_it_sets_off,
    a_timer_whose_process_was_killed_in_the_middle_fires_once,
    a_timer_that_kills_the_process_is_parked_in_the_end,
    a_timer_that_fails_is_tried_with_growing_delays_and_parked_in_the_end,
    a_timer_that_is_repaired_in_time_fires_once,
    what_passes_by_itself_is_never_counted,
    a_deadline_is_held_until_what_was_pending_has_been_read,
    a_timer_of_what_does_not_exist_is_a_failure,
);

on_two_instances!(two_instances_take_different_timers);

/// A counter of 5 units that will do these steps in a minute.
async fn reminded(shop: &Shop, steps: &str) -> Id {
    let counter = shop.counter(5).await;
    shop.act(counter, format!("remind 60 {counter} {}", steps.replace("it", &counter.to_string()))).await;
    counter
}

async fn rung(shop: &Shop) -> Vec<Delivery> {
    shop.ring(Micros(0)).await
}

async fn a_timer_fires_once_when_it_is_due(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it").await;
    shop.forward(59 * SECOND);
    assert_eq!(rung(shop).await.len(), 0);
    shop.forward(SECOND);
    let timer = rung(shop).await.remove(0);
    assert_eq!(rung(shop).await.len(), 0, "it is leased");
    assert_eq!(shop.batch([timer.clone(), timer.clone()]).await, [Outcome::Applied, Outcome::Duplicate]);
    assert_eq!(shop.one(timer).await, Outcome::Duplicate);
    shop.forward(HOUR);
    assert_eq!(rung(shop).await.len(), 0);
    assert_eq!((shop.told(counter).await.sold, shop.count("timer").await), (1, 0));
}

async fn what_a_timer_does_goes_on_with_what_set_it(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it").await;
    shop.forward(HOUR);
    shop.batch(rung(shop).await).await;
    let log = shop.log(counter).await;
    let [created, sold] = &log[..] else { panic!("{log:?}") };
    assert_eq!((sold.cause_id, sold.command_id), (Some(created.id), created.command_id));
    assert_eq!(sold.principal, "service/toy");
}

async fn a_timer_that_was_replaced_fires_when_the_new_one_is_due(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it").await;
    shop.forward(60 * SECOND);
    let old = rung(shop).await.remove(0);
    shop.act(counter, format!("remind 10 {counter} sell 3 {counter}")).await;
    assert_eq!(shop.one(old).await, Outcome::Duplicate, "what was replaced does not fire");
    assert_eq!(rung(shop).await.len(), 0);
    shop.forward(10 * SECOND);
    assert_eq!(shop.batch(rung(shop).await).await, [Outcome::Applied]);
    assert_eq!(shop.told(counter).await.sold, 3);
}

async fn a_timer_that_was_taken_back_does_not_fire_even_if_it_was_on_its_way(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it").await;
    shop.forward(60 * SECOND);
    let timer = rung(shop).await.remove(0);
    shop.act(counter, format!("forget {counter}")).await;
    assert_eq!(shop.one(timer).await, Outcome::Duplicate);
    shop.forward(HOUR);
    assert_eq!(rung(shop).await.len(), 0);
    assert_eq!(shop.told(counter).await.sold, 0);
}

async fn a_timer_that_is_taken_back_in_the_batch_that_brings_it_does_not_fire(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it").await;
    shop.forward(60 * SECOND);
    let timer = rung(shop).await.remove(0);
    let outcomes = shop.batch([command(shop.id(), counter, format!("forget {counter}")), timer]).await;
    assert_eq!(outcomes[1], Outcome::Duplicate);
    assert_eq!(shop.told(counter).await.sold, 0);
}

async fn a_timer_may_be_set_anew_by_what_it_sets_off(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, remind 60 it sell 2 it").await;
    for sold in [1, 3] {
        shop.forward(60 * SECOND);
        assert_eq!(shop.batch(rung(shop).await).await, [Outcome::Applied]);
        assert_eq!(shop.told(counter).await.sold, sold);
    }
    shop.forward(HOUR);
    assert_eq!(rung(shop).await.len(), 0);
}

async fn a_timer_whose_process_was_killed_in_the_middle_fires_once(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, hang").await;
    shop.forward(60 * SECOND);
    killed_when(shop.batch(rung(shop).await), || shop.world.times("hang") == 1).await;
    shop.world.repair();
    assert_eq!(rung(shop).await.len(), 0, "the lease of the dead is still running");
    shop.forward(LEASE);
    assert_eq!(shop.batch(rung(shop).await).await, [Outcome::Applied]);
    assert_eq!(shop.told(counter).await.sold, 1);
}

async fn a_timer_that_kills_the_process_is_parked_in_the_end(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, hang").await;
    let mut kills = 0;
    for _ in 0..20 {
        shop.forward(HOUR);
        for timer in rung(shop).await {
            kills += 1;
            if kills > 7 {
                assert_eq!(shop.one(timer).await, Outcome::Noted);
            } else {
                killed_when(shop.one(timer), || shop.world.times("hang") == kills).await;
            }
        }
    }
    assert_eq!((kills, shop.world.times("hang"), shop.told(counter).await.sold), (8, 7, 0));
}

async fn a_timer_that_fails_is_tried_with_growing_delays_and_parked_in_the_end(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, fail").await;
    let other = reminded(shop, "sell 1 it").await;
    shop.forward(60 * SECOND);
    let mut outcomes = shop.batch(rung(shop).await).await;
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Noted);
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Noted], "it stops nobody else");
    let begin = shop.now();
    let mut tried = Vec::new();
    for _ in 0..100 {
        for timer in rung(shop).await {
            tried.push(shop.now().since(begin).as_millis());
            assert_eq!(shop.one(timer).await, Outcome::Noted);
        }
        shop.forward(SECOND / 20);
    }
    let pauses: Vec<u128> = [0].iter().chain(&tried).zip(&tried).map(|(one, next)| next - one).collect();
    assert!(pauses.len() == 4 && pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
    shop.forward(HOUR);
    assert_eq!((rung(shop).await.len(), shop.world.times("fail")), (0, 6), "once in the batch, and then 5 times alone");
    assert_eq!((shop.told(counter).await.sold, shop.told(other).await.sold), (0, 1));
    assert_eq!(shop.count("timer").await, 1, "it is kept for an operator");
}

async fn a_timer_that_is_repaired_in_time_fires_once(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, panic").await;
    shop.forward(60 * SECOND);
    let timer = rung(shop).await.remove(0);
    assert_eq!(shop.one(timer.clone()).await, Outcome::Noted);
    shop.world.repair();
    shop.forward(SECOND);
    let again = rung(shop).await.remove(0);
    assert_eq!(shop.batch([again, timer]).await, [Outcome::Applied, Outcome::Duplicate]);
    assert_eq!(shop.told(counter).await.sold, 1);
}

async fn what_passes_by_itself_is_never_counted(shop: &Shop) {
    let counter = reminded(shop, "sell 1 it, be-away").await;
    for _ in 0..20 {
        shop.forward(60 * SECOND);
        assert!(given_back(&shop.one(rung(shop).await.remove(0)).await));
    }
    shop.world.repair();
    shop.forward(60 * SECOND);
    assert_eq!(shop.batch(rung(shop).await).await, [Outcome::Applied]);
    assert_eq!(shop.told(counter).await.sold, 1);
}

async fn a_deadline_is_held_until_what_was_pending_has_been_read(shop: &Shop) {
    let counter = shop.counter(5).await;
    shop.act(counter, format!("give-up 60 {counter} sell 1 {counter}")).await;
    let started = shop.now();
    shop.forward(HOUR);
    assert_eq!(shop.ring(started.plus(59 * SECOND)).await.len(), 0, "the answer may have come in the last second");
    let deadline = shop.ring(started.plus(60 * SECOND)).await;
    assert_eq!(shop.batch(deadline).await, [Outcome::Applied]);
    assert_eq!(shop.told(counter).await.sold, 1);
}

async fn a_timer_of_what_does_not_exist_is_a_failure(shop: &Shop) {
    let nothing = shop.id();
    let outcome = shop.until_done(command(shop.id(), nothing, format!("remind 60 {nothing}"))).await;
    assert!(failed(&outcome), "{outcome:?}");
    answer(&shop.one(command(shop.id(), nothing, format!("forget {nothing}"))).await);
    assert_eq!(shop.count("timer").await, 0);
}

async fn two_instances_take_different_timers(one: &Shop, two: &Shop) {
    for _ in 0..10 {
        reminded(one, "sell 1 it").await;
    }
    one.forward(HOUR);
    let (first, second) = tokio::join!(rung(one), rung(two));
    assert_eq!(first.len() + second.len(), 10);
    let (first, second) = tokio::join!(one.batch(first), two.batch(second));
    assert!(first.iter().chain(&second).all(|outcome| *outcome == Outcome::Applied));
}
