use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use millrace_billing::{CardToken, ChargeState, Outcome, Provider as _, Reservation, Simulated};
use testkit::{Postgres, eventually, folder};

use crate::shop::{PRICE, address};

fn reservation(token: &str) -> Reservation {
    let card = CardToken::new(token.to_owned());
    Reservation { order_id: "order".to_owned(), currency: "EUR".to_owned(), minor: PRICE, card }
}

async fn open(address: &str) -> Simulated {
    Simulated::open(address).await.expect("the books can be opened")
}

async fn states(provider: &Simulated) -> Vec<ChargeState> {
    provider.charges().await.expect("the books can be read").into_iter().map(|charge| charge.state).collect()
}

#[tokio::test]
async fn under_one_reference_everything_happens_once() {
    let books = folder();
    let provider = open(&address(&books)).await;
    for _ in 0..2 {
        assert_eq!(provider.authorize("a", reservation("tok_approved")).await.expect("it answers"), Outcome::Done);
    }
    for _ in 0..2 {
        assert_eq!(provider.capture("b", "a").await.expect("it answers"), Outcome::Done);
    }
    assert!(matches!(provider.capture("another", "a").await, Ok(Outcome::Refused(_))));
    assert_eq!(states(&provider).await, [ChargeState::Taken]);
}

#[tokio::test]
async fn what_was_let_go_cannot_be_taken_and_what_was_not_taken_cannot_be_given_back() {
    let books = folder();
    let provider = open(&address(&books)).await;
    provider.authorize("a", reservation("tok_approved")).await.expect("it answers");
    assert!(matches!(provider.refund("r", "a").await, Ok(Outcome::Refused(_))));
    assert_eq!(provider.void("v", "a").await.expect("it answers"), Outcome::Done);
    assert!(matches!(provider.capture("c", "a").await, Ok(Outcome::Refused(_))));
    assert!(matches!(provider.capture("d", "unknown").await, Ok(Outcome::Refused(_))));
    assert_eq!(states(&provider).await, [ChargeState::LetGo]);
}

#[tokio::test]
async fn a_lost_answer_was_a_deed_and_a_second_try_gets_it() {
    let books = folder();
    let provider = open(&address(&books)).await;
    provider.authorize("a", reservation("tok_timeout:1")).await.expect_err("the first answer is lost");
    assert_eq!(provider.ask("a").await.expect("it answers"), Some(Outcome::Done));
    assert_eq!(provider.authorize("a", reservation("tok_timeout:1")).await.expect("it answers"), Outcome::Done);
    assert_eq!(provider.ask("b").await.expect("it answers"), None);
}

#[tokio::test]
async fn a_caller_who_does_not_wait_for_a_late_answer_finds_the_deed_done() {
    let books = folder();
    let provider = open(&address(&books)).await.late_by(Duration::from_hours(1));
    let answer = pin!(provider.authorize("a", reservation("tok_late")));
    let done = pin!(eventually("the deed is done", async || matches!(provider.ask("a").await, Ok(Some(_)))));
    assert!(matches!(select(answer, done).await, Either::Right(_)), "the answer is late");
    assert_eq!(provider.ask("a").await.expect("it answers"), Some(Outcome::Done));
}

#[tokio::test]
async fn the_books_are_there_after_a_crash() {
    let books = folder();
    let before = open(&address(&books)).await;
    before.authorize("a", reservation("tok_declined")).await.expect("it answers");
    let after = open(&address(&books)).await;
    assert_eq!(after.ask("a").await.expect("it answers"), Some(Outcome::Refused("the card was declined".to_owned())));
    assert_eq!(states(&after).await, [ChargeState::Declined]);
}

#[tokio::test]
async fn many_instances_at_once_charge_a_card_once() {
    let database = Postgres::database().await;
    let instances = join_all((0..4).map(|_| open(&database))).await;
    let tries = instances.iter().cycle().take(16).map(|provider| provider.authorize("a", reservation("tok_approved")));
    assert!(join_all(tries).await.into_iter().all(|outcome| outcome.is_ok_and(|outcome| outcome == Outcome::Done)));
    let tries = (0..16).map(|n| (n, &instances[n % 4]));
    let taken = tries.map(|(n, provider)| async move { provider.capture(&format!("c{n}"), "a").await });
    let done = join_all(taken).await.into_iter().filter(|outcome| matches!(outcome, Ok(Outcome::Done))).count();
    assert_eq!((done, states(&instances[0]).await), (1, vec![ChargeState::Taken]));
}
